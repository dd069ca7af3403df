"""A verifier whose import takes a second: no completion may pay for that."""

import time

time.sleep(1.0)


def score(task: object, completion: object) -> bool:
    return True
