"""{{NAME}}: greets whoever asks.

Trigger:    bulkhead create trigger --database DB --path {{NAME}}.py --trigger-spec request:{{NAME}} {{NAME}}
Request:    curl 'http://127.0.0.1:8181/api/v3/engine/{{NAME}}?name=you'
"""


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    name = query_parameters.get("name")
    if not name:
        return {"error": "say who you are: ?name=you"}, 400
    influxdb3_local.info(f"greeted {name}")
    return {"greeting": f"hello {name}"}
