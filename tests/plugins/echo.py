"""Answers with what a request plugin is called with."""


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    return {
        "q": query_parameters,
        "h": request_headers,
        "body": repr(request_body),
        "types": [
            type(value).__name__ for value in (query_parameters, request_headers, request_body, args, influxdb3_local)
        ],
        "args": args,
    }
