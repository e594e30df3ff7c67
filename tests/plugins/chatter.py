"""Says something for ever and ignores every attempt to stop it."""


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    while True:
        try:
            while True:
                influxdb3_local.warn("and another thing")
        except BaseException:
            continue
