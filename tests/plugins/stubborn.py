"""Computes for ever and ignores every attempt to stop it."""


def spin():
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    spin()


def process_writes(influxdb3_local, table_batches, args=None):
    if table_batches[0]["rows"][0]["v"] < 0:
        spin()
    influxdb3_local.info("well")
