//! Whom a query is for: filters by name and by tag, as bytes of the query.
//!
//! ```text
//! [0][names]              ours is among them
//! [1][{Expr, Tag}]        the regular expression is found somewhere in the tag's value, "" where there is no such tag
//! ```
//!
//! Expressions are Go's. `regex-lite` takes nearly the same, in a tenth of the code of `regex`; it lacks the tables of
//! Unicode, which tags hardly need (`\d`, `\w` and `\s` are ASCII in Go as well). What either of the two does not
//! take, and what they read differently, means: do not answer. So nobody answers whom the asker did not mean.
//!
//! Source: serf `encodeFilters`, `shouldProcessQuery`.

use std::collections::BTreeMap;

use regex_lite::RegexBuilder;

use crate::gossip::core::wire::msgpack::{Reader, Writer};

/// Type bytes.
const NODES: u8 = 0;
const TAG: u8 = 1;

/// Memory of one compiled expression. Go refuses to repeat something more than a thousand times, which fits; what
/// repeats repetitions is refused, as it would keep us from gossip while we search.
const EXPRESSION_BYTES_MAX: usize = 128 << 10;

/// Filters of one query, for the same reason.
const FILTERS_MAX: usize = 16;

/// Filters for a query.
pub(super) fn encode(nodes: &[String], tags: &BTreeMap<String, String>) -> Vec<Vec<u8>> {
    let mut filters = Vec::new();
    if !nodes.is_empty() {
        let mut w = Writer::message(NODES);
        w.array(nodes.len());
        nodes.iter().for_each(|name| w.raw(name.as_bytes()));
        filters.push(w.finish());
    }
    for (tag, expression) in tags {
        let mut w = Writer::message(TAG);
        w.map(2);
        w.key("Expr");
        w.raw(expression.as_bytes());
        w.key("Tag");
        w.raw(tag.as_bytes());
        filters.push(w.finish());
    }
    filters
}

/// Whether all `filters` let a member through.
pub(super) fn pass<'a>(
    filters: &[Vec<u8>],
    name: &str,
    tag: impl Fn(&str) -> Option<&'a str>,
) -> bool {
    let mut all = filters.iter();
    filters.len() <= FILTERS_MAX && all.all(|filter| passes(filter, name, &tag))
}

/// Whether a filter lets a member through. One that can't be evaluated does not.
fn passes<'a>(filter: &[u8], name: &str, tag: impl Fn(&str) -> Option<&'a str>) -> bool {
    match filter.split_first() {
        Some((&NODES, names)) => names_us(names, name),
        Some((&TAG, filter)) => tag_matches(filter, tag).unwrap_or_default(),
        _ => false,
    }
}

/// Whether an encoded list of names has `own`.
fn names_us(list: &[u8], own: &str) -> bool {
    let mut reader = Reader::new(list);
    let Ok(Some(len)) = reader.array() else {
        return false;
    };
    for _ in 0..len {
        match reader.raw() {
            Ok(Some(name)) if name == own.as_bytes() => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    false
}

/// `None` where it can't be read.
fn tag_matches<'a>(filter: &[u8], value: impl Fn(&str) -> Option<&'a str>) -> Option<bool> {
    let (mut tag, mut expression) = (String::new(), String::new());
    Reader::new(filter)
        .fields(&["Tag", "Expr"], |r, field| {
            match field {
                "Tag" => tag = r.string("Tag")?,
                "Expr" => expression = r.string("Expr")?,
                _ => r.skip()?,
            }
            Ok(())
        })
        .ok()?;
    if means_something_else_in_go(&expression) {
        return None;
    }
    let expression = RegexBuilder::new(&expression)
        .size_limit(EXPRESSION_BYTES_MAX)
        .build()
        .ok()?;
    Some(expression.is_match(value(&tag).unwrap_or_default()))
}

/// Whether an expression has something that `regex-lite` takes and Go does not, or not as the same.
fn means_something_else_in_go(expression: &str) -> bool {
    let mut rest = expression.chars().peekable();
    let (mut in_class, mut repeated) = (false, false);
    while let Some(letter) = rest.next() {
        let mut repeats = false;
        match letter {
            // `\<` is a plain `<` in Go; the others it does not know.
            '\\' => match rest.next() {
                Some('<' | '>' | 'u' | 'U') => return true,
                Some('b') if rest.peek() == Some(&'{') => return true,
                _ => {}
            },
            '[' if !in_class => {
                in_class = true;
                // A bracket that comes first is one of the class.
                rest.next_if_eq(&'^');
                rest.next_if_eq(&']');
            }
            ']' => in_class = false,
            _ if in_class => {}
            '(' if rest.next_if_eq(&'?').is_some() => {
                while let Some(flag) =
                    rest.next_if(|flag| flag.is_ascii_alphabetic() || *flag == '-')
                {
                    if matches!(flag, 'x' | 'R') {
                        return true;
                    }
                    if flag == 'P' {
                        break;
                    }
                }
            }
            '*' | '+' | '?' | '{' => {
                // Go does not repeat a repetition.
                if repeated {
                    return true;
                }
                if letter == '{' {
                    let bounds: String =
                        rest.by_ref().take_while(|letter| *letter != '}').collect();
                    let far = |bound: &str| bound.parse::<u32>().is_ok_and(|times| times > 1000);
                    if bounds.split(',').any(far) {
                        return true;
                    }
                }
                rest.next_if_eq(&'?');
                repeats = true;
            }
            _ => {}
        }
        repeated = repeats;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_nodes_means_those_in_it() {
        assert!(names_us(b"\x92\xa1a\xa2us", "us"));
        assert!(!names_us(b"\x91\xa1a", "us"));
        assert!(!names_us(b"\x92\xa1a", "us"), "truncated");
        assert!(!names_us(b"", "us"));
        assert!(!names_us(b"\xc0", "us"));
    }

    fn meant(expression: &str, value: Option<&'static str>) -> bool {
        let tags = BTreeMap::from([("role".to_owned(), expression.to_owned())]);
        let filters = encode(&[], &tags);
        assert_eq!(filters.len(), 1);
        passes(&filters[0], "us", |tag| {
            assert_eq!(tag, "role");
            value
        })
    }

    #[test]
    fn a_tag_is_searched_for_the_expression() {
        for (expression, value) in [
            ("web", Some("web")),
            ("eb", Some("webs")),
            ("^w.b$", Some("web")),
            ("(?i)WEB", Some("web")),
            ("^(web|db)[0-9]{1,3}$", Some("db17")),
            (r"^\w+-\d+$", Some("web-1")),
            ("[[:alpha:]]+", Some("x1")),
            ("", Some("web")),
            ("", None),
            ("^$", None),
            ("a??b", Some("b")),
            ("[*+?{}]", Some("a+b")),
            ("[]x]", Some("]")),
            ("(?:a|b)+c", Some("abc")),
            ("(?P<Rx>a)", Some("a")),
            (r"a\.b", Some("a.b")),
        ] {
            assert!(meant(expression, value), "{expression:?} in {value:?}");
        }
        for (expression, value) in [
            ("^eb", Some("web")),
            ("web", Some("Web")),
            ("web", None),
            ("a.b", Some("a\nb")),
            (r"\d", Some("٣")),
        ] {
            assert!(!meant(expression, value), "{expression:?} in {value:?}");
        }
    }

    #[test]
    fn what_go_does_not_take_or_reads_differently_means_nobody() {
        for (expression, value) in [
            ("(", "("),
            ("a(?=b)", "ab"),
            ("a**", "a"),
            ("a*+", "a"),
            ("a{2}{3}", "aaaaaa"),
            ("a{1001}", "a"),
            ("a{0,1001}", "a"),
            ("(?x)a b", "ab"),
            ("(?R)a", "a"),
            ("(?i-x)a", "a"),
            (r"\<a", "a"),
            (r"a\>", "a"),
            (r"\u0061", "a"),
            (r"\U00000061", "a"),
            (r"\b{start}a", "a"),
            (r"(a)\1", "aa"),
            ("*", "*"),
            // These Go takes and we don't.
            (r"\pL", "a"),
            ("a{", "a{"),
            (r"\Qa\E", "a"),
        ] {
            assert!(!meant(expression, Some(value)), "{expression:?}");
        }
    }

    #[test]
    fn an_expression_of_great_size_is_refused() {
        assert!(!meant("((a{1000}){1000}){1000}", Some("a")));
        assert!(meant("^(a{1,1000})$", Some("a")));
    }

    #[test]
    fn too_many_filters_let_nobody_through() {
        let filter = encode(&["us".to_owned()], &BTreeMap::new());
        let many = |count| vec![filter[0].clone(); count];

        assert!(pass(&many(FILTERS_MAX), "us", |_| None));
        assert!(!pass(&many(FILTERS_MAX + 1), "us", |_| None));
        assert!(pass(&[], "us", |_| None));
    }

    #[test]
    fn filters_are_written_as_a_real_agent_does() {
        let tags = BTreeMap::from([("role".to_owned(), ".".to_owned())]);

        assert_eq!(
            encode(&["us".to_owned()], &tags),
            [
                b"\x00\x91\xa2us".to_vec(),
                b"\x01\x82\xa4Expr\xa1.\xa3Tag\xa4role".to_vec()
            ]
        );
        assert!(encode(&[], &BTreeMap::new()).is_empty());
    }

    #[test]
    fn filters_that_cannot_be_read_let_nobody_through() {
        for filter in [
            &b""[..],
            b"\x01",
            b"\x01\xc1",
            b"\x01\x81\xa3Tag\x05",
            b"\x02",
        ] {
            assert!(!passes(filter, "us", |_| Some("")), "{filter:?}");
        }
    }
}
