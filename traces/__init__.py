if __name__ != "marlserve.traces":
    raise ImportError(
        f"traces/ is the source folder of marlserve.traces; import that, not {__name__}"
    )
