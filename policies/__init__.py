if __name__ != "marlserve.policies":
    raise ImportError(
        f"policies/ is the source folder of marlserve.policies; import that, not {__name__}"
    )
