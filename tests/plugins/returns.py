"""Request plugin that returns what the parameter `what` names."""


class Flask:
    status_code = 202

    def __init__(self):
        self.headers = {"Content-Type": "application/xml"}

    def __flask_response__(self):
        return True

    def get_data(self):
        return "<x/>"


VALUES = {
    "text": "hello",
    "dict": {"a": 1},
    "list": [1, 2],
    "text_and_status": ("nope", 404),
    "dict_status_headers": ({"a": 1}, 201, {"X-Mine": "yes"}),
    "content_type": ("a,b", {"Content-Type": "text/csv"}),
    "none_and_status": (None, 200),
    "flask": Flask(),
    "bytes": b"abc",
    "bad_status": ("x", 99999),
    "none": None,
    "integer": 5,
    "true": True,
    "headers_no_dict": ("x", 200, "no"),
    "header_integer": ("x", 200, {"X-N": 5}),
    "header_newline": ("x", 200, {"X-N": "a\nb"}),
    "unserialisable": {"a": object()},
}


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    what = query_parameters["what"]
    if what == "raises":
        raise ValueError("boom")
    if what == "echo":
        headers = dict(request_headers)
        return {"query": query_parameters, "headers": headers, "body": request_body.decode(), "args": args}
    return VALUES[what]
