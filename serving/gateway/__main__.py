"""`python -m marlserve.serving.gateway`: see the package."""

from marlserve.serving.gateway.server import main

if __name__ == "__main__":
    main()
