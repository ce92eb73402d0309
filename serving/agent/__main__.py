"""`python -m marlserve.serving.agent`: see the package."""

from marlserve.serving.agent.server import main

if __name__ == "__main__":
    main()
