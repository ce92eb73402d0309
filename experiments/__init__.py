if __name__ != "marlserve.experiments":
    raise ImportError(
        f"experiments/ is the source folder of marlserve.experiments; import that, not {__name__}"
    )
