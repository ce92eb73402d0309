"""`python -m marlserve.serving.controller`: see the package."""

from marlserve.serving.controller.process import main

if __name__ == "__main__":
    main()
