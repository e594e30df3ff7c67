"""Opens as many files as it can.

grant: {"max_files": 64}
expect: OSError True
"""

import os


def process_request(influxdb3_local, query_parameters, request_headers, request_body, args=None):
    opened = []
    try:
        while len(opened) < 1000:
            opened.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        return type(error).__name__ + " " + str(len(opened) < 64)
    finally:
        for descriptor in opened:
            os.close(descriptor)
