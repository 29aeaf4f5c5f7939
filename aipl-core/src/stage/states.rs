//! The states of one history at the close of one day.

use crate::model::Program;
use crate::timeline::History;

/// Leaf bits of the states that are on at the close of a day.
#[must_use]
pub fn states_on(program: &Program, history: &History<'_>, day: i32) -> u64 {
    let mut on = 0;
    // In order of time, so the last change by the day decides; at the same instant "off" comes last.
    for (_, toggle) in history.toggles.iter().filter(|(_, toggle)| toggle.day <= day) {
        let bit = program.states[toggle.state as usize].1;
        on = if toggle.off { on & !bit } else { on | bit };
    }
    for (_, span) in history.spans.iter().filter(|(_, span)| span.first <= day && day <= span.last) {
        on |= program.states.get(usize::from(span.state)).map_or(0, |(_, bit)| *bit);
    }
    on
}
