"""`python -m marlserve.serving.training`: see `process`."""

from marlserve.serving.training.process import main

if __name__ == "__main__":
    main()
