//! Every form of every value, and what is none.

use super::*;

fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    write(&mut writer);
    writer.finish()
}

#[test]
fn integers_take_the_shortest_form_and_come_back() {
    let cases: [(i64, &[u8]); 12] = [
        (0, &[0]),
        (127, &[0x7f]),
        (128, &[0xcc, 0x80]),
        (256, &[0xcd, 1, 0]),
        (0x1_0000, &[0xce, 0, 1, 0, 0]),
        (0x1_0000_0000, &[0xcf, 0, 0, 0, 1, 0, 0, 0, 0]),
        (-1, &[0xff]),
        (-32, &[0xe0]),
        (-33, &[0xd0, 0xdf]),
        (-129, &[0xd1, 0xff, 0x7f]),
        (-0x8001, &[0xd2, 0xff, 0xff, 0x7f, 0xff]),
        (i64::MIN, &[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0]),
    ];
    for (value, bytes) in cases {
        assert_eq!(written(|w| w.int(value)), bytes, "{value}");
        assert_eq!(Reader::new(bytes).int(), Ok(value), "{value}");
    }
}

#[test]
fn a_wide_or_signed_form_reads_as_the_number_it_is() {
    assert_eq!(Reader::new(&[0xd3, 0, 0, 0, 0, 0, 0, 0, 5]).uint(), Ok(5));
    assert_eq!(Reader::new(&[0xcf, 0, 0, 0, 0, 0, 0, 0, 5]).uint(), Ok(5));
    assert!(matches!(
        Reader::new(&[0xff]).uint(),
        Err(WireError::Msgpack(_))
    ));
    assert_eq!(
        Reader::new(&[0xcd, 1, 0]).uint_as::<u8>("Algo"),
        Err(WireError::Field("Algo"))
    );
}

#[test]
fn forty_bytes_are_written_as_raw16_and_read_in_every_form() {
    let text = [b'x'; 40];
    let raw = written(|w| w.raw(&text));

    assert_eq!(raw[..3], [0xda, 0, 40]);
    for head in [
        vec![0xd9, 40],
        vec![0xda, 0, 40],
        vec![0xdb, 0, 0, 0, 40],
        vec![0xc4, 40],
        vec![0xc5, 0, 40],
        vec![0xc6, 0, 0, 0, 40],
    ] {
        let bytes = [head, text.to_vec()].concat();
        assert_eq!(Reader::new(&bytes).raw(), Ok(Some(&text[..])));
    }
}

#[test]
fn nil_is_the_zero_value_of_everything() {
    let nil = [0xc0];

    assert_eq!(Reader::new(&nil).uint(), Ok(0));
    assert_eq!(Reader::new(&nil).int(), Ok(0));
    assert_eq!(Reader::new(&nil).bool(), Ok(false));
    assert_eq!(Reader::new(&nil).raw(), Ok(None));
    assert_eq!(Reader::new(&nil).string("Node"), Ok(String::new()));
    assert_eq!(Reader::new(&nil).array(), Ok(None));
    assert_eq!(Reader::new(&nil).map(), Ok(0));
    assert_eq!(Reader::new(&nil).fields(&[], |_, _| panic!("none")), Ok(()));
}

#[test]
fn short_input_says_how_much_is_wanted() {
    let mut reader = Reader::new(&[0xda, 0x01, 0x00, b'x']);

    assert_eq!(reader.raw(), Err(WireError::Truncated));
    assert_eq!(reader.wanted(), 3 + 256);
}

#[test]
fn huge_declared_lengths_are_refused_or_run_dry() {
    let huge = [0xdb, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(Reader::new(&huge).raw(), Err(WireError::TooLarge));

    let items = [0xdd, 0xff, 0xff, 0xff, 0xff];
    assert!(Reader::new(&items).skip().is_err());
    let entries = [0xdf, 0xff, 0xff, 0xff, 0xff];
    assert!(Reader::new(&entries).skip().is_err());
    assert!(Reader::new(&entries).fields(&[], |r, _| r.skip()).is_err());
}

#[test]
fn nesting_is_skipped_only_so_deep() {
    let deep = [vec![0x91; 10], vec![0]].concat();
    assert_eq!(Reader::new(&deep).skip(), Ok(()));

    let too_deep = vec![0x91; 100_000];
    assert_eq!(Reader::new(&too_deep).skip(), Err(WireError::TooDeep));
}

#[test]
fn unknown_values_are_skipped_but_not_without_end() {
    let many = [vec![0xdc, 0xff, 0xff], vec![0; 0xffff]].concat();

    assert_eq!(
        Reader::new(&many).skip(),
        Err(WireError::Msgpack("too many unknown values"))
    );
}
