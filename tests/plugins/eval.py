"""Executes the request's body and tells what it left in `r`, or what it raised."""


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    names = {"influxdb3_local": influxdb3_local, "args": args}
    try:
        exec(request_body.decode(), names)
    except BaseException as error:
        kind = type(error)
        return {"raises": f"{kind.__module__}.{kind.__qualname__}", "text": str(error)}
    return {"gives": repr(names.get("r"))}
