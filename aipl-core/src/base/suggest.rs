//! "Did you mean": the nearest of the names that would have been right.

/// The choice most like `given`, if any is near enough to be a likely misspelling.
///
/// ```
/// use aipl_core::base::suggest::nearest;
/// assert_eq!(nearest("purchas", ["view", "purchase"]), Some("purchase"));
/// assert_eq!(nearest("zzz", ["view", "purchase"]), None);
/// ```
pub fn nearest<'a>(given: &str, choices: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lowered = given.to_lowercase();
    choices
        .into_iter()
        .map(|choice| (strsim::jaro_winkler(&lowered, &choice.to_lowercase()), choice))
        .filter(|(likeness, _)| *likeness >= 0.75)
        .max_by(|left, right| left.0.total_cmp(&right.0).then_with(|| right.1.cmp(left.1)))
        .map(|(_, choice)| choice)
}

/// `; did you mean "x"?` or nothing: the tail of an error message.
pub(crate) fn hint<'a>(given: &str, choices: impl IntoIterator<Item = &'a str>) -> String {
    nearest(given, choices).map_or_else(String::new, |choice| format!("; did you mean {choice:?}?"))
}
/// The first few of some choices, for messages.
#[must_use]
pub fn some_of(choices: &[String]) -> String {
    const SHOWN: usize = 10;
    let more = if choices.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", choices[..choices.len().min(SHOWN)].join(", "))
}
