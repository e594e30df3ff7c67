//! The native `LineBuilder` against its model in plain Python: the same calls give the same text or the same exception.

use crate::world::World;

const MODEL: &str = include_str!("../model/line_builder.py");

/// Random chains of calls; what differs is answered. The seed is part of the answer, so that a failure can be repeated.
const COMPARE: &str = r#"
import decimal, enum, fractions, importlib.util, math, random
spec = importlib.util.spec_from_file_location("model", query_parameters["model"])
model = importlib.util.module_from_spec(spec)
spec.loader.exec_module(model)

class Color(enum.IntEnum):
    RED = 3

class Loud(str):
    def __str__(self):
        return self.upper()

class Own(float):
    def __repr__(self):
        return "own"

TEXTS = ["", "a", "temp", "a b", "a,b", "a=b", "é✓", "a\\b", 'q"q', "l1\nl2", "\r", "\\", "x" * 200, " ", ",", "=", "\t", Loud("loud"), "tail\\"]
NUMBERS = [0, 1, -1, 7, 2**63 - 1, -2**63, 2**64, -2**70, True, False, Color.RED, 0.0, -0.0, 1.0, 1.5, -2.25, 0.1, 1e-4, 1e-5, 1.5e-7, 123456789.123, 1e15 + 0.5, 1e16, 1e20, 1e22, 1.7976931348623157e308, 5e-324, 2.5e-300, math.pi, math.nan, math.inf, -math.inf, decimal.Decimal("1.50"), decimal.Decimal("2"), fractions.Fraction(1, 3), Own(2.5), Own(3.0)]
ODD = [None, b"bytes", [], [1], {}, object, 3j]
random_ = random.Random(int(query_parameters["seed"]))
METHODS = ["tag", "int64_field", "uint64_field", "float64_field", "string_field", "bool_field"]

def value():
    kind = random_.random()
    if kind < 0.4:
        return random_.choice(TEXTS)
    if kind < 0.75:
        return random_.choice(NUMBERS)
    if kind < 0.95:
        return random_.uniform(-1, 1) * 10 ** random_.randint(-20, 20)
    return random_.choice(ODD)

def key():
    return random_.choice(TEXTS + ["k1", "k2", "k3", "k4"] * 4) if random_.random() < 0.97 else random_.choice([None, 0, 7, 1.5, b"bytes", object, False])

def calls():
    yield "new", (random_.choice(TEXTS) if random_.random() < 0.97 else random_.choice([None, 1, 1.5, b"x", object]),)
    for _ in range(random_.randint(0, 8)):
        yield random_.choice(METHODS), (key(), value())
    if random_.random() < 0.5:
        yield "time_ns", (random_.choice(NUMBERS + [None]),)
    yield "build", ()

def outcome(cls, chain):
    said, builder = [], None
    for method, arguments in chain:
        try:
            if method == "new":
                builder = cls(*arguments)
            elif builder is not None:
                result = getattr(builder, method)(*arguments)
                said.append(result if method == "build" else result is builder)
        except Exception as error:
            said.append((type(error).__name__, str(error) if type(error).__name__.startswith("Invalid") else ""))
    if builder is not None:
        said.append((builder.measurement, dict(builder.tags), dict(builder.fields)))
    return said

wrong = []
for _ in range(4000):
    chain = list(calls())
    ours, theirs = outcome(LineBuilder, chain), outcome(model.LineBuilder, chain)
    if ours != theirs:
        wrong.append(f"{chain}\n  native: {ours}\n  model:  {theirs}")
return "\n".join(wrong[:5])
"#;

on_every_python! {
    async fn the_same_calls_give_the_same_text_or_the_same_exception(python) {
        let mut world = World::start(python).await;
        let model = world.file("model.py", MODEL);
        world.load_request(COMPARE).await;
        for seed in 0..3 {
            let answer = world.request_with(&[("model", model.to_str().unwrap()), ("seed", &seed.to_string())]).await;
            assert_eq!(answer.body(), "", "seed {seed}");
        }
    }

    async fn a_subclass_may_take_other_arguments(python) {
        let mut world = World::start(python).await;
        let ended = world.respond("
class Weather(LineBuilder):
    def __init__(self, city, *, unit):
        super().__init__('weather')
        self.unit = unit
        self.tag('city', city)
line = Weather('Oslo', unit='C').float64_field('t', 1.5)
return line.build() + line.unit").await;
        assert_eq!(ended.body(), "weather,city=Oslo t=1.5C");
    }
}
