"""Forged messages: the learner's process finds its socket and writes what it likes."""

from attacks import Attack, cheat

ENDED = "ended Python itself"
WIRE = """
import json, os, stat, struct, time
def own():
    return next(n for n in range(3, 64) if stat.S_ISSOCK(os.fstat(n).st_mode))
def put(data):
    while data:
        data = data[os.write(own(), data):]
def frame(header, payload=b""):
    header = header if type(header) is bytes else json.dumps(header).encode()
    return struct.pack(">IQ", len(header), len(payload)) + header + payload
def tell(value, payload=b"", **more):
    header = {"value": value, "failure": None, "mutated": False, "printed": "", "largest": 0}
    put(frame({**header, **more}, payload))
    os._exit(0)
"""


def forged(name: str, trick: str, *lines: str, reason: str = ENDED) -> Attack:
    return cheat(name, trick, *lines, before=WIRE, reason=reason)


ATTACKS = [
    forged(
        "claimed_score",
        "a reply that claims full marks",
        "tell(4.0, score=4.0, passed=True, kinds={}, reason='', outcomes=[], text='4.0')",
        reason="returned a float",
    ),
    forged(
        "short_message",
        "a length longer than what follows",
        "put(struct.pack('>IQ', 99, 0))",
        "os._exit(0)",
    ),
    forged(
        "huge_message",
        "a length of 2**64 - 1",
        "put(struct.pack('>IQ', 9, 2**64 - 1) + b'x' * 9)",
        "os._exit(0)",
    ),
    forged("deep_json", "JSON of a depth of 100,000", "put(frame(b'[' * 100_000))", "os._exit(0)"),
    forged(
        "no_json",
        "bytes that are no JSON",
        "put(frame(b'{\"value\": ' + b'9' * 5000 + b'}'))",
        "os._exit(0)",
    ),
    forged("no_message", "a message that is a list", "put(frame([1, 2]))", "os._exit(0)"),
    forged(
        "strides",
        "strides that reach outside, below and over one another",
        "many = ([-1], [2**39], [0], [2**63], [True], [1.5], ['x'])",
        "shape, size = [4], 16",
        "tell({'tensor': ['float32', shape, many[delta.numel() % 7], size, False]}, b'\\0' * size)",
        reason="",
    ),
    forged(
        "shapes",
        "shapes that are no numbers, negative, or overflow",
        "shape = [2**39, 0, 2**39, 2**39] if delta.dim() == 1 else [float('nan')]",
        "tell({'tensor': ['float32', shape, [2**39] * len(shape), 0, True]})",
        reason="",
    ),
    forged(
        "dtypes",
        "a dtype that is not there, and a size for another",
        "name = 'qint8' if delta.dim() == 1 else 'float64'",
        "tell({'tensor': [name, [2], [1], 4, False]}, b'abcd')",
    ),
    forged("foreign_name", "a type's name that is no text", "tell({'foreign': '\\ud800'})"),
    forged("huge_number", "a number of 4,000 digits", "tell(10**4000)"),
    forged("odd_keys", "keys that cannot be keys", "tell({'dict': [[{'list': []}, 1]]})"),
    forged("many_items", "a million items", "tell({'list': [0] * 1_000_000})"),
    forged(
        "long_text",
        "a text of 3 MB in place of a result",
        "tell('\\ud800' + 'x' * 3_000_000)",
        reason="returned a str",
    ),
    forged(
        "line_number",
        "a line in a cell with a number of 5,000 digits",
        "tell(None, failure=['ValueError', 'x', ['<cell ' + '9' * 5000 + '>', 1]])",
        reason="stopped with ValueError",
    ),
    forged(
        "failure_forms",
        "a failure of a form that nobody sends",
        "tell(None, failure={'kind': ['x'], '<script>': 1}, printed=[1], largest='x', mutated='x')",
    ),
    forged("asks_back", "asks for a function that the grader has not lent", "tell(0, lent=0)"),
    forged(
        "asks_back_negative",
        "asks for a function with a number that is none",
        "tell(0, lent=-1, **{'with': {'tuple': []}})",
    ),
    forged(
        "second_replies",
        "answers the next calls, too",
        "for _ in range(60):",
        "    put(frame({'value': {'tensor': ['float32', [4], [1], 16, False]}}, b'\\0' * 16))",
        "return delta",
        reason="",
    ),
    forged(
        "drip",
        "one byte a second",
        "put(struct.pack('>IQ', 1000, 0))",
        "while True:",
        "    put(b' ')",
        "    time.sleep(1)",
        reason="did not finish",
    ),
    forged(
        "half_closed",
        "closes one direction",
        "import socket",
        "socket.socket(fileno=own()).shutdown(socket.SHUT_WR)",
        "time.sleep(100)",
    ),
]
