"""`python -m marlserve.serving.trainer`: see `process`."""

from marlserve.serving.trainer.process import main

if __name__ == "__main__":
    main()
