//! "Did you mean": the nearest of the names that would have been right. Names come from data and may be of any length
//! and number, so only the beginnings of so many are looked at.

use std::borrow::Cow;

/// Bytes of a name that are compared.
const COMPARED_BYTES: usize = 64;
/// Bytes of a value that a message shows.
const SHOWN_BYTES: usize = 60;
/// The most names that are compared with one.
pub(crate) const MOST_CHOICES: usize = 10_000;

/// The choice most like `given`, if any is near enough to be a likely misspelling. The first 64 bytes of names are
/// compared, and the first 10,000 choices.
///
/// ```
/// use aipl_core::base::suggest::nearest;
/// assert_eq!(nearest("purchas", ["view", "purchase"]), Some("purchase"));
/// assert_eq!(nearest("zzz", ["view", "purchase"]), None);
/// ```
pub fn nearest<'a>(given: &str, choices: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lowered = start(given, COMPARED_BYTES).to_lowercase();
    choices
        .into_iter()
        .take(MOST_CHOICES)
        .map(|choice| {
            (
                strsim::jaro_winkler(&lowered, &start(choice, COMPARED_BYTES).to_lowercase()),
                choice,
            )
        })
        .filter(|(likeness, _)| *likeness >= 0.75)
        .max_by(|left, right| left.0.total_cmp(&right.0).then_with(|| right.1.cmp(left.1)))
        .map(|(_, choice)| choice)
}

/// `; did you mean "x"?` or nothing: the tail of an error message.
pub(crate) fn hint<'a>(given: &str, choices: impl IntoIterator<Item = &'a str>) -> String {
    nearest(given, choices).map_or_else(String::new, |choice| format!("; did you mean {:?}?", shown(choice)))
}

/// The first bytes of a text, so many at most, up to a whole character.
#[must_use]
pub fn start(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A value as messages show it: about its first 60 bytes.
///
/// ```
/// use aipl_core::base::suggest::shown;
/// assert_eq!(shown("purchase"), "purchase");
/// assert_eq!(shown(&"浏览".repeat(1000)).len(), 63);
/// ```
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    match start(text, SHOWN_BYTES) {
        whole if whole.len() == text.len() => Cow::Borrowed(text),
        cut => Cow::Owned(format!("{cut}…")),
    }
}

/// The first few of some choices, for messages.
#[must_use]
pub fn some_of(choices: &[String]) -> String {
    const SHOWN: usize = 10;
    let more = if choices.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", listed(&choices[..choices.len().min(SHOWN)]))
}

/// Names for a message: all of them, unless they are far too many to read.
#[must_use]
pub fn listed(names: &[String]) -> String {
    const SHOWN: usize = 100;
    let more = match names.len().checked_sub(SHOWN) {
        None | Some(0) => String::new(),
        Some(more) => format!(", … ({more} more)"),
    };
    let few: Vec<Cow<'_, str>> = names.iter().take(SHOWN).map(|name| shown(name)).collect();
    format!("{}{more}", few.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn long_names_and_many_cost_little() {
        let long = "x".repeat(64 << 20);
        let many: Vec<String> = (0..200_000).map(|n| format!("{n}{}", "y".repeat(60))).collect();
        let started = Instant::now();
        assert_eq!(nearest(&long, [long.as_str(), "view"]), Some(long.as_str()));
        assert_eq!(nearest(&long, many.iter().map(String::as_str)), None);
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        assert!(hint(&long, [long.as_str()]).len() < 100);
        assert!(listed(&many).len() < 10_000);
    }

    #[test]
    fn values_are_cut_between_characters() {
        for text in ["é".repeat(100), "浏".repeat(100), "😀".repeat(100), "a".repeat(61)] {
            let cut = shown(&text);
            assert!(cut.len() <= SHOWN_BYTES + 3 && cut.ends_with('…') && text.starts_with(cut.trim_end_matches('…')));
        }
        assert_eq!(start("浏览", 5), "浏");
    }
}
