//! Table batches: what rows look like, and when they are built.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal256Array, DictionaryArray,
    DurationMillisecondArray, FixedSizeBinaryArray, FixedSizeListArray, Float32Array, Float64Array, Int8Array,
    Int32Array, Int64Array, Int64Builder, LargeListArray, LargeStringArray, MapBuilder, NullArray, RunArray,
    StringArray, StringBuilder, StringViewArray, StructArray, Time32SecondArray, Time64NanosecondArray,
    TimestampNanosecondArray, TimestampSecondArray, UInt16Array, UInt64Array, UnionArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, UInt16Type, UnionFields, i256};
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use bulkhead_proto::types::v1::{FailureKind, TableBatch};
use bulkhead_proto::worker::v1::{EntryPoint, InvokeRows, session_response::Order};
use bytes::Bytes;

use crate::world::{Ended, World, request_event, wal};

/// A column of a test.
pub(crate) enum Column {
    I64(Vec<Option<i64>>),
    Text(Vec<Option<&'static str>>),
    Tag(Vec<Option<&'static str>>),
    Other(ArrayRef),
}

/// One Arrow IPC stream.
pub(crate) fn stream(columns: &[(&str, Column)]) -> Bytes {
    let arrays: Vec<(Field, ArrayRef)> = columns
        .iter()
        .map(|(name, column)| {
            let array: ArrayRef = match column {
                Column::I64(values) => Arc::new(Int64Array::from(values.clone())),
                Column::Text(values) => Arc::new(StringArray::from(values.clone())),
                Column::Tag(values) => Arc::new(values.iter().copied().collect::<DictionaryArray<Int32Type>>()),
                Column::Other(array) => Arc::clone(array),
            };
            (Field::new(*name, array.data_type().clone(), true), array)
        })
        .collect();
    let schema = Arc::new(Schema::new(arrays.iter().map(|(field, _)| field.clone()).collect::<Vec<_>>()));
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
    if !arrays.is_empty() {
        let batch = RecordBatch::try_new(schema, arrays.into_iter().map(|(_, array)| array).collect()).unwrap();
        writer.write(&batch).unwrap();
    }
    writer.finish().unwrap();
    writer.into_inner().unwrap().into()
}

fn table(name: &str, arrow_ipc_stream: Bytes) -> TableBatch {
    TableBatch { table: name.into(), arrow_ipc_stream }
}

fn numbers(range: std::ops::Range<i64>) -> Bytes {
    stream(&[("n", Column::I64(range.map(Some).collect()))])
}

/// Calls a data-write plugin that logs what an expression of `b`, its first batch, gives.
async fn eval(world: &mut World, expression: &str, tables: Vec<TableBatch>) -> Ended {
    let source = format!(
        "import json, pickle, copy\ndef process_writes(api, table_batches, args):\n    b = table_batches[0]\n    api.info(({expression}))\n"
    );
    let path = world.file("eval.py", &source);
    assert_eq!(world.load(&path, EntryPoint::Writes).await, None);
    world.call(wal(tables)).await
}

fn two_rows() -> Bytes {
    stream(&[
        ("tag1", Column::Tag(vec![Some("a"), Some("a")])),
        ("tag2", Column::Tag(vec![Some("b"), None])),
        ("f", Column::Other(Arc::new(Float64Array::from(vec![Some(1.5), Some(2.0)])))),
        ("i", Column::I64(vec![Some(3), None])),
        ("u", Column::Other(Arc::new(UInt64Array::from(vec![Some(u64::MAX), None])))),
        ("s", Column::Text(vec![Some("str \"q\" é"), None])),
        ("b", Column::Other(Arc::new(BooleanArray::from(vec![Some(true), None])))),
        ("time", Column::Other(Arc::new(TimestampNanosecondArray::from(vec![1_700_000_000_000_000_000, -5])))),
    ])
}

/// Columns of one row whose types only SQL makes.
fn types_of_sql() -> Vec<(&'static str, Column)> {
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    map.keys().append_value("k");
    map.values().append_value(1);
    map.append(true).unwrap();
    let one: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let keyed = DictionaryArray::<UInt16Type>::try_new(vec![1].into(), Arc::new(Int64Array::from(vec![9, 7]))).unwrap();
    let columns: [(&str, ArrayRef); 11] = [
        ("fsb", Arc::new(FixedSizeBinaryArray::try_from_iter([b"ab"].into_iter()).unwrap())),
        ("t32", Arc::new(Time32SecondArray::from(vec![3601]))),
        ("t64", Arc::new(Time64NanosecondArray::from(vec![1999]))),
        ("dur", Arc::new(DurationMillisecondArray::from(vec![2]))),
        ("date", Arc::new(Date32Array::from(vec![-1]))),
        ("d256", Arc::new(Decimal256Array::from(vec![i256::from(-150)]).with_precision_and_scale(5, 2).unwrap())),
        ("keys", Arc::new(keyed)),
        ("list", Arc::new(LargeListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), None])]))),
        ("fixed", Arc::new(FixedSizeListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), Some(2)])], 2))),
        ("struct", Arc::new(StructArray::from(vec![(Arc::new(Field::new("a", DataType::Int64, true)), one)]))),
        ("map", Arc::new(map.finish())),
    ];
    columns.into_iter().map(|(name, array)| (name, Column::Other(array))).collect()
}

/// Columns of three rows that hold their values in another way than one after the other.
fn encoded() -> Vec<(&'static str, Column)> {
    let fields = || {
        let (number, text) = (Field::new("n", DataType::Int64, true), Field::new("s", DataType::Utf8, true));
        UnionFields::try_new([0, 1], [number, text]).unwrap()
    };
    let numbers = |values: Vec<Option<i64>>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    let texts = |values: Vec<&str>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    let sparse = vec![numbers(vec![Some(1), Some(2), Some(3)]), texts(vec!["a", "b", "c"])];
    let sparse = UnionArray::try_new(fields(), vec![0, 1, 0].into(), None, sparse).unwrap();
    let dense = vec![numbers(vec![None, Some(7)]), texts(vec!["a"])];
    let dense = UnionArray::try_new(fields(), vec![0, 1, 0].into(), Some(vec![0, 0, 1].into()), dense).unwrap();
    let runs = StringArray::from(vec![Some("x"), None]);
    let runs = RunArray::<Int32Type>::try_new(&Int32Array::from(vec![2, 3]), &runs).unwrap();
    let columns: [(&str, ArrayRef); 3] =
        [("sparse", Arc::new(sparse)), ("dense", Arc::new(dense)), ("runs", Arc::new(runs))];
    columns.into_iter().map(|(name, array)| (name, Column::Other(array))).collect()
}

/// Expressions of a batch with the rows `{"n": 1}` and `{"n": 2}`, each on a batch that nobody has looked at.
const LOOKS: [(&str, &str); 27] = [
    ("b", "{'table_name': 't', 'rows': [{'n': 1}, {'n': 2}]}"),
    ("b['rows']", "[{'n': 1}, {'n': 2}]"),
    ("b.get('rows')", "[{'n': 1}, {'n': 2}]"),
    ("b['table_name'], b.get('nope'), b.get('nope', 1)", "('t', None, 1)"),
    (
        "list(b), list(b.keys()), len(b), 'rows' in b, 'x' in b, list(reversed(b))",
        "(['table_name', 'rows'], ['table_name', 'rows'], 2, True, False, ['rows', 'table_name'])",
    ),
    ("list(b.items())", "[('table_name', 't'), ('rows', [{'n': 1}, {'n': 2}])]"),
    ("list(b.values())", "['t', [{'n': 1}, {'n': 2}]]"),
    ("b.pop('rows'), list(b)", "([{'n': 1}, {'n': 2}], ['table_name'])"),
    ("b.popitem()", "('rows', [{'n': 1}, {'n': 2}])"),
    ("b.setdefault('rows', 1)", "[{'n': 1}, {'n': 2}]"),
    ("b.copy(), type(b.copy()).__name__", "({'table_name': 't', 'rows': [{'n': 1}, {'n': 2}]}, 'dict')"),
    ("dict(b)", "{'table_name': 't', 'rows': [{'n': 1}, {'n': 2}]}"),
    ("{**b}", "{'table_name': 't', 'rows': [{'n': 1}, {'n': 2}]}"),
    ("b | {'x': 1}", "{'table_name': 't', 'rows': [{'n': 1}, {'n': 2}], 'x': 1}"),
    ("{'x': 1} | b", "{'x': 1, 'table_name': 't', 'rows': [{'n': 1}, {'n': 2}]}"),
    (
        "b == {'table_name': 't', 'rows': [{'n': 1}, {'n': 2}]}, b != {}, {'table_name': 't', 'rows': [{'n': 1}, {'n': 2}]} == b",
        "(True, True, True)",
    ),
    ("json.dumps(b)", r#"{"table_name": "t", "rows": [{"n": 1}, {"n": 2}]}"#),
    ("json.dumps([b], indent=None, sort_keys=True)", r#"[{"rows": [{"n": 1}, {"n": 2}], "table_name": "t"}]"#),
    ("pickle.loads(pickle.dumps(b))", "{'table_name': 't', 'rows': [{'n': 1}, {'n': 2}]}"),
    (
        "copy.copy(b), copy.deepcopy(b)['rows']",
        "({'table_name': 't', 'rows': [{'n': 1}, {'n': 2}]}, [{'n': 1}, {'n': 2}])",
    ),
    (
        "isinstance(b, dict), type(b).__name__, type(b['rows']), type(b['rows'][0])",
        "(True, 'TableBatch', <class 'list'>, <class 'dict'>)",
    ),
    ("b['rows'] is b['rows'], b.get('rows') is b['rows']", "(True, True)"),
    ("(lambda rows=None, table_name=None: rows)(**b)", "[{'n': 1}, {'n': 2}]"),
    ("b.update(rows=1), b", "(None, {'table_name': 't', 'rows': 1})"),
    ("b.__setitem__('rows', [3]), b['rows'], b['rows']", "(None, [3], [3])"),
    ("b['rows'].append(5), b['rows'][0].update(m=1), b['rows']", "(None, None, [{'n': 1, 'm': 1}, {'n': 2}, 5])"),
    ("'%(rows)s' % b, '{rows}'.format_map(b)", "(\"[{'n': 1}, {'n': 2}]\", \"[{'n': 1}, {'n': 2}]\")"),
];

on_every_python! {
    async fn rows_hold_what_the_line_held(python) {
        let mut world = World::start(python).await;
        let ended = eval(&mut world, "b['rows']", vec![table("m", two_rows())]).await;
        let first = "{'tag1': 'a', 'tag2': 'b', 'f': 1.5, 'i': 3, 'u': 18446744073709551615, 's': 'str \"q\" é', 'b': True, 'time': 1700000000000000000}";
        let second = "{'tag1': 'a', 'f': 2.0, 'time': -5}";
        assert_eq!(ended.succeeded().messages(), [format!("[{first}, {second}]")]);
        let ended = eval(&mut world, "[(type(v).__name__, v is b['rows'][1].get(k)) for k, v in b['rows'][0].items()][0]", vec![table("m", two_rows())]).await;
        assert_eq!(ended.succeeded().messages(), ["('str', True)"]);
    }

    async fn every_look_at_a_batch_sees_its_rows(python) {
        let mut world = World::start(python).await;
        for (expression, expected) in LOOKS {
            let ended = eval(&mut world, expression, vec![table("t", numbers(1..3))]).await;
            assert_eq!(ended.succeeded().messages(), [expected], "{expression}");
        }
    }

    async fn nothing_is_decoded_before_a_look(python) {
        let mut world = World::start(python).await;
        let broken = || vec![table("t", Bytes::from_static(b"not Arrow at all"))];
        let ended = eval(&mut world, "b['table_name'], len(b), list(b)", broken()).await;
        assert_eq!(ended.succeeded().messages(), ["('t', 2, ['table_name', 'rows'])"]);
        for _ in 0..2 {
            let ended = eval(&mut world, "b['rows']", broken()).await;
            assert_eq!(ended.failure().kind(), FailureKind::Exception);
            assert!(ended.failure().message.starts_with("ValueError: malformed Arrow data: "), "{:?}", ended.failure());
        }
    }

    async fn malformed_data_raises(python) {
        let mut world = World::start(python).await;
        let good = two_rows();
        for cut in (0..good.len()).step_by(37) {
            let ended = eval(&mut world, "len(b['rows'])", vec![table("t", good.slice(..cut))]).await;
            // A stream that ends between its messages holds fewer rows.
            if let Some(bulkhead_proto::types::v1::outcome::Kind::Failure(failure)) = &ended.outcome.kind {
                assert!(failure.message.starts_with("ValueError: malformed Arrow data: "), "{failure:?}");
            }
        }
        for position in (0..good.len()).step_by(11) {
            let mut bad = good.to_vec();
            bad[position] ^= 0xff;
            eval(&mut world, "len(b['rows'])", vec![table("t", bad.into())]).await;
        }
        eval(&mut world, "1", vec![table("t", good)]).await.succeeded();
    }

    async fn parts_of_an_event_are_put_together(python) {
        let mut world = World::start(python).await;
        let path = world.file("parts.py", "def process_writes(api, batches, args):\n    api.info([(b['table_name'], [r['n'] for r in b['rows']]) for b in batches])\n");
        assert_eq!(world.load(&path, EntryPoint::Writes).await, None);
        let first = vec![table("a", numbers(0..2)), table("b", numbers(10..11)), table("a", numbers(2..4))];
        let id = world.invoke(wal(first), true).await;
        world.order(Order::InvokeRows(InvokeRows { invocation_id: id, tables: vec![table("b", numbers(11..13))], more: true })).await;
        world.order(Order::InvokeRows(InvokeRows { invocation_id: id, tables: vec![table("c", numbers(5..6)), table("a", numbers(4..5))], more: false })).await;
        assert_eq!(world.end_of(id).await.succeeded().messages(), ["[('a', [0, 1, 2, 3, 4]), ('b', [10, 11, 12]), ('c', [5])]"]);
    }

    async fn every_supported_type(python) {
        let mut world = World::start(python).await;
        let columns = [
            ("i8", Column::Other(Arc::new(Int8Array::from(vec![Some(-1), None])))),
            ("u16", Column::Other(Arc::new(UInt16Array::from(vec![Some(65535), None])))),
            ("f32", Column::Other(Arc::new(Float32Array::from(vec![Some(0.5), None])))),
            ("ls", Column::Other(Arc::new(LargeStringArray::from(vec![Some("l"), None])))),
            ("sv", Column::Other(Arc::new(StringViewArray::from(vec![Some("a view that is longer than twelve"), None])))),
            ("bin", Column::Other(Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff"[..]), None])))),
            ("none", Column::Other(Arc::new(NullArray::new(2)))),
            ("ts", Column::Other(Arc::new(TimestampSecondArray::from(vec![Some(1), Some(i64::MAX)])))),
            ("tag", Column::Tag(vec![None, None])),
        ];
        world.load_request("return repr(influxdb3_local.query('select *'))").await;
        let id = world.invoke(request_event(), false).await;
        world.peer.queries.recv().await.unwrap().answer.send(Ok(vec![stream(&columns)])).unwrap();
        let first = r"{'i8': -1, 'u16': 65535, 'f32': 0.5, 'ls': 'l', 'sv': 'a view that is longer than twelve', 'bin': b'\x00\xff', 'none': None, 'ts': 1000000000, 'tag': None}";
        let second = "{'i8': None, 'u16': None, 'f32': None, 'ls': None, 'sv': None, 'bin': None, 'none': None, 'ts': 9223372036854775807000000000, 'tag': None}";
        assert_eq!(world.end_of(id).await.body(), format!("[{first}, {second}]"));

        let id = world.invoke(request_event(), false).await;
        world.peer.queries.recv().await.unwrap().answer.send(Ok(vec![stream(&types_of_sql())])).unwrap();
        assert_eq!(world.end_of(id).await.body(), "[{'fsb': b'ab', 't32': datetime.time(1, 0, 1), 't64': datetime.time(0, 0, 0, 1), 'dur': 2000000, 'date': datetime.date(1969, 12, 31), 'd256': Decimal('-1.50'), 'keys': 7, 'list': [1, None], 'fixed': [1, 2], 'struct': {'a': 1}, 'map': {'k': 1}}]");

        let id = world.invoke(request_event(), false).await;
        world.peer.queries.recv().await.unwrap().answer.send(Ok(vec![stream(&encoded())])).unwrap();
        let rows = "[{'sparse': 1, 'dense': None, 'runs': 'x'}, {'sparse': 'b', 'dense': 'a', 'runs': 'x'}, {'sparse': 3, 'dense': 7, 'runs': None}]";
        assert_eq!(world.end_of(id).await.body(), rows);
    }

    async fn a_large_event_crosses_in_parts(python) {
        let mut world = World::start(python).await;
        let path = world.file("sum.py", "def process_writes(api, batches, args):\n    api.info(sum(r['n'] for r in batches[0]['rows']), len(batches))\n");
        assert_eq!(world.load(&path, EntryPoint::Writes).await, None);
        let part = |index: i64| vec![table("t", numbers(index * 50_000..(index + 1) * 50_000))];
        let id = world.invoke(wal(part(0)), true).await;
        for index in 1..6 {
            world.order(Order::InvokeRows(InvokeRows { invocation_id: id, tables: part(index), more: index < 5 })).await;
        }
        assert_eq!(world.end_of(id).await.succeeded().messages(), [format!("{} 1", 300_000_i64 * 299_999 / 2)]);
    }
}
