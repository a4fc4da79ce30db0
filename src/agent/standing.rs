//! What the node says about its service: the tags that it was given, and what it has found out since.
//!
//! ```text
//! tags as configured ──┐
//! own checks (Opinion) ┼─▶ tags as announced: state, weight; s= of each further service
//! agent-check (Wish) ──┘
//! ```
//!
//! Pure. Of two states the worse one counts: maint, fail, drain, ready.

use std::collections::BTreeMap;

use crate::announce::line::{Mode, Wish};
use crate::announce::{self, State, Tags};
use crate::health::own::Opinion;

/// All that is known of the node's services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Of the agent's own check of the role, if it makes one.
    pub(super) check: Option<Word>,
    /// Of those of further services, by name.
    pub(super) more: BTreeMap<String, Word>,
    /// Of the agent-check command; about the role.
    pub(super) wish: Wish,
}

/// What a check says of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) opinion: Opinion,
    /// As long as the check has said nothing: whether fronts will find out as well, by the same one.
    pub(super) is_checked_by_fronts: bool,
}

impl Word {
    /// Why the service is not to be used, if so.
    fn failing(&self) -> Option<&String> {
        match &self.opinion {
            Opinion::Fails(why) => Some(why),
            Opinion::Unproven(why) if !self.is_checked_by_fronts => Some(why),
            _ => None,
        }
    }
}

impl Standing {
    /// What the node says by itself of its role.
    pub(super) fn state(&self) -> State {
        let failing = self.check.as_ref().and_then(Word::failing);
        match (self.wish.mode, failing.or(self.wish.down.as_ref())) {
            (Mode::Maint, _) => State::Maint,
            (_, Some(why)) => State::Fail(why.clone()),
            (Mode::Drain, None) => State::Drain,
            (Mode::Ready, None) if self.wish.percent == 0 => State::Drain,
            (Mode::Ready, None) => State::Ready,
        }
    }

    /// `base` with what the node says by itself.
    pub(super) fn announced(&self, base: &Tags) -> Tags {
        let mut tags = base.clone();
        let own = self.state();
        let given = base.get("state").and_then(|text| text.parse().ok());
        if rank(&own) > given.as_ref().map_or(0, rank) {
            // As a front reads it: cut to its length.
            tags.insert("state".to_owned(), own.to_string());
        }
        if self.wish.percent != 100 {
            let weight = self.wish.weight(weight(base));
            tags.insert("weight".to_owned(), weight.to_string());
        }
        for (name, word) in &self.more {
            let Some(why) = word.failing() else { continue };
            let Some(tag) = tags.get_mut(&format!("svc.{name}")) else {
                continue;
            };
            let own = State::Fail(why.clone());
            if rank(&own) > announce::state_of(tag).as_ref().map_or(0, rank) {
                *tag = announce::with_state(tag, &own);
            }
        }
        tags
    }

    /// Whether the wished share of the configured weight can't be said in whole numbers, not even nearly.
    pub(super) fn is_lost_in_rounding(&self, base: &Tags) -> bool {
        let (weight, percent) = (u32::from(weight(base)), u32::from(self.wish.percent));
        weight < 10 && percent > 0 && !(weight * percent).is_multiple_of(100)
    }
}

fn weight(tags: &Tags) -> u16 {
    let given = tags.get("weight").and_then(|text| text.parse().ok());
    given.unwrap_or(1)
}

fn rank(state: &State) -> u8 {
    match state {
        State::Ready => 0,
        State::Drain => 1,
        State::Fail(_) => 2,
        State::Maint => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(given: &[(&str, &str)]) -> Tags {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        given.iter().map(owned).collect()
    }

    fn standing(check: Option<Opinion>, line: &str) -> Standing {
        let mut wish = Wish::default();
        if !line.is_empty() {
            wish.hear(line.parse().expect("a line"));
        }
        Standing {
            check: check.map(|opinion| Word {
                opinion,
                is_checked_by_fronts: false,
            }),
            more: BTreeMap::new(),
            wish,
        }
    }

    fn fails() -> Option<Opinion> {
        Some(Opinion::Fails("disk full".to_owned()))
    }

    fn passes() -> Option<Opinion> {
        Some(Opinion::Passes("fine".to_owned()))
    }

    #[test]
    fn the_worse_of_all_words_counts() {
        for (base, check, line, expected) in [
            ("", None, "", ""),
            ("", passes(), "", ""),
            ("", fails(), "", "fail:disk full"),
            ("", passes(), "drain", "drain"),
            ("", fails(), "drain", "fail:disk full"),
            ("", fails(), "maint", "maint"),
            ("", passes(), "down#later", "fail:later"),
            ("", fails(), "down#later", "fail:disk full"),
            ("", passes(), "0%", "drain"),
            ("maint", fails(), "", "maint"),
            ("drain", fails(), "", "fail:disk full"),
            ("drain", passes(), "", "drain"),
            ("ready", passes(), "", "ready"),
            ("odd", fails(), "", "fail:disk full"),
        ] {
            let mut given = tags(&[("role", "web")]);
            if !base.is_empty() {
                given.insert("state".to_owned(), base.to_owned());
            }
            let announced = standing(check, line).announced(&given);
            let state = announced.get("state").map_or("", String::as_str);
            assert_eq!(state, expected, "{base:?} {line:?}");
        }
    }

    #[test]
    fn who_is_not_checked_yet_is_out_unless_fronts_check_the_same() {
        let unproven = Some(Opinion::Unproven("not checked yet".to_owned()));
        let alone = standing(unproven, "");
        let mut together = alone.clone();
        together
            .check
            .iter_mut()
            .for_each(|word| word.is_checked_by_fronts = true);

        assert_eq!(alone.state().to_string(), "fail:not checked yet");
        assert_eq!(together.state(), State::Ready);
    }

    #[test]
    fn a_further_service_is_out_alone() {
        let base = tags(&[
            ("role", "web"),
            ("svc.api", "8080;w=3"),
            ("svc.old", "81;s=maint"),
        ]);
        let mut standing = standing(passes(), "");
        for name in ["api", "old", "unknown"] {
            let word = Word {
                opinion: Opinion::Fails("disk full".to_owned()),
                is_checked_by_fronts: true,
            };
            standing.more.insert(name.to_owned(), word);
        }

        let announced = standing.announced(&base);

        let expected = tags(&[
            ("role", "web"),
            ("svc.api", "8080;w=3;s=fail:disk full"),
            ("svc.old", "81;s=maint"),
        ]);
        assert_eq!(announced, expected);
    }

    #[test]
    fn a_share_is_of_the_configured_weight() {
        let base = tags(&[("role", "web"), ("weight", "200")]);
        let weight = |line| {
            let announced = standing(None, line).announced(&base);
            announced.get("weight").cloned().unwrap_or_default()
        };

        assert_eq!(weight("75%"), "150");
        assert_eq!(weight("100%"), "200");
        assert_eq!(weight("drain"), "200");
        let light = tags(&[("role", "web")]);
        assert!(standing(None, "75%").is_lost_in_rounding(&light));
        assert!(!standing(None, "75%").is_lost_in_rounding(&base));
        assert!(!standing(None, "200%").is_lost_in_rounding(&light));
        assert!(!standing(None, "drain").is_lost_in_rounding(&light));
    }
}
