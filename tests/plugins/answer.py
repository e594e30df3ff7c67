"""Returns what the request's body returns, taken as the body of a function."""


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    lines = ["def answer():", *("    " + line for line in request_body.decode().splitlines())]
    names = {}
    exec("\n".join(lines), names)
    return names["answer"]()
