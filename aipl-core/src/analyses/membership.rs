//! Members and fans of a brand over a period: who they are, who came and went, and what they bought beside everybody else.
//!
//! Definition: `python/docs/definitions/assets.md` (membership; definitions §11). Sourced: members ∩ fans, new by difference of states, the member order and its
//! share. Ours: join rate, and the comparison of members with others.

use arrow::array::ArrayRef;
use serde_json::json;

use crate::analyses::asked::{AnalysisError, Asked, check_range};
use crate::analyses::labels::{counts, scope_array};
use crate::analyses::outcome::Answer;
use crate::analyses::totals::{
    Grouping, Judge, Trading, amount, bit_of, bits, figures, money_notes, people_of_group, shares, table, total,
};
use crate::audience::Audience;
use crate::base::Day;
use crate::base::statistics::ratio;
use crate::stage::{OrderReader, Trade, states_on};
use crate::timeline::rows::{class_of, day_of};
use crate::timeline::{Bucket, History, Runtime, ScopeValue, Timelines};

/// Optional parameters of [`membership`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipParams {
    /// Only these brands.
    pub scopes: Option<Vec<ScopeValue>>,
    /// The state of members.
    pub members: String,
    /// The state of fans.
    pub fans: String,
}

impl Default for MembershipParams {
    fn default() -> Self {
        MembershipParams {
            scopes: None,
            members: "member".to_owned(),
            fans: "fan".to_owned(),
        }
    }
}

/// Groups of [`membership`], in order of their bits.
pub const MEMBERSHIP_GROUPS: [&str; 15] = [
    "members_start",
    "members",
    "new_members",
    "lost_members",
    "fans_start",
    "fans",
    "new_fans",
    "lost_fans",
    "members_and_fans",
    "nonmember_visitors",
    "buyers",
    "member_buyers",
    "nonmember_buyers",
    "member_repeat_buyers",
    "nonmember_repeat_buyers",
];
const GROUPS: usize = MEMBERSHIP_GROUPS.len();

/// What members and others bought, and how many of them on two days or more.
#[derive(Debug, Clone, Copy, Default)]
struct Bought {
    trading: Trading,
    again: i64,
}

/// Counts of groups, and what others (0) and members (1) bought.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    groups: [i64; GROUPS],
    bought: [Bought; 2],
}

impl std::ops::AddAssign for Counted {
    fn add_assign(&mut self, more: Counted) {
        self.groups.iter_mut().zip(more.groups).for_each(|(own, more)| *own += more);
        for (own, more) in self.bought.iter_mut().zip(more.bought) {
            own.trading += more.trading;
            own.again += more.again;
        }
    }
}

struct Prepared<'a> {
    asked: Asked<'a>,
    trade: Trade,
    visit: u64,
    member: u64,
    fan: u64,
    days: (Day, Day),
}

impl<'a> Prepared<'a> {
    fn new(source: &'a dyn Timelines, days: (Day, Day), params: &MembershipParams) -> Result<Self, AnalysisError> {
        check_range(days.0, days.1)?;
        let mut asked = Asked::of_events(source, params.scopes.as_deref())?;
        let (member, fan) = (asked.watch_state(&params.members)?, asked.watch_state(&params.fans)?);
        let visit = asked.watch("behaviors", &source.schema().vocabulary(), Some(1))?;
        let trade = asked.watch_trade(Some(1))?;
        Ok(Prepared {
            asked,
            trade,
            visit,
            member,
            fan,
            days,
        })
    }

    /// The groups that a history is in, and what it bought as other and as member.
    fn judge_history(
        &self,
        bucket: &Bucket<'_>,
        reader: &mut OrderReader<'_>,
        ids: &mut Vec<(u64, u64)>,
        history: &History<'_>,
    ) -> (u32, [Bought; 2]) {
        let (start, end) = (self.days.0.number(), self.days.1.number());
        let on = |day: i32| states_on(&self.asked.program, history, day);
        let (before, after) = (on(start - 1), on(end));
        let [member0, fan0] = [self.member, self.fan].map(|state| before & state != 0);
        let [member1, fan1] = [self.member, self.fan].map(|state| after & state != 0);
        let inside = |day: i32| (start..=end).contains(&day);
        let visited = history
            .words
            .iter()
            .any(|&word| inside(day_of(word)) && bucket.masks[class_of(word)] & self.visit != 0);
        let mut bought = [Bought::default(); 2];
        let lines = reader.lines(history);
        // Most consumers are one or the other throughout.
        let changes = !history.toggles.is_empty() || !history.spans.is_empty();
        for (kind, own) in bought.iter_mut().enumerate() {
            let as_member = |day: i32| usize::from(changes && on(day) & self.member != 0) == kind;
            let own_lines = || lines.iter().filter(|line| inside(line.day) && as_member(line.day));
            own.trading = Trading::of(own_lines(), ids);
            let first = own_lines().find(|line| line.ordered).map(|line| line.day);
            own.again = i64::from(own_lines().any(|line| line.ordered && Some(line.day) != first));
        }
        let buyers = bought.map(|bought| bought.trading.buyers > 0);
        let groups = bits(&[
            member0,
            member1,
            member1 && !member0,
            member0 && !member1,
            fan0,
            fan1,
            fan1 && !fan0,
            fan0 && !fan1,
            member1 && fan1,
            visited && !member0,
            buyers[0] || buyers[1],
            buyers[1],
            buyers[0],
            bought[1].again > 0,
            bought[0].again > 0,
        ]);
        (groups, bought)
    }
}

impl Grouping for Prepared<'_> {
    fn asked(&self) -> &Asked<'_> {
        &self.asked
    }

    /// From the day before the start on, whose close the period is compared with.
    fn days(&self) -> (Day, Day) {
        (self.days.0 + -1, self.days.1)
    }

    fn judge<'b>(&'b self, bucket: Bucket<'b>) -> Judge<'b> {
        let (mut reader, mut ids) = (OrderReader::new(self.trade, &bucket).since(self.days.0.number()), Vec::new());
        Box::new(move |history| self.judge_history(&bucket, &mut reader, &mut ids, history).0)
    }
}

/// Members and fans of each brand at both ends of a period, and what members bought in it beside others.
///
/// # Shape and units
/// `scope`; the sizes of [`MEMBERSHIP_GROUPS`] (int64): `members_start` and `fans_start` at the close of the day before `start`, `members` and `fans` at the close of
/// `end`, `new_…` and `lost_…` by difference of these two states, `members_and_fans` at the end, `nonmember_visitors` (with an event in the period, no member at its
/// beginning), `buyers`, `member_buyers`, `nonmember_buyers`, `member_repeat_buyers`, `nonmember_repeat_buyers` (buyers on two days or more). `join_rate` (new_members ÷
/// nonmember_visitors), `member_buyers_share` (÷ buyers); `orders`, `member_orders`, `nonmember_orders`, `member_orders_share`; `gmv`, `member_gmv`, `nonmember_gmv`,
/// `member_gmv_share`; and for members and others `…_frequency` (orders ÷ buyers), `…_aov` (gmv ÷ orders), `…_repurchase_rate` (repeat buyers ÷ buyers). An order is a member's if its buyer is a member at the close of its day; who buys as both is a buyer of both. Shares
/// and rates are of one; null where there is nothing to divide by.
///
/// # Errors
/// A reversed range; what the source refuses.
///
/// # Example
/// ```
/// # use std::sync::Arc;
/// # use aipl_core::analyses::*;
/// # use aipl_core::{base::Day, base::statistics::Split, event::EventSchema, model::StageModel, source::Events};
/// # use aipl_core::timeline::{Runtime, ScopeValue};
/// # use arrow::array::{AsArray, Float64Array, RecordBatch, StringArray};
/// # use arrow::datatypes::{Float64Type, Int64Type};
/// # let text = |values: [&'static str; 4]| Arc::new(StringArray::from(values.to_vec())) as _;
/// # let batch = RecordBatch::try_from_iter([
/// #     ("user", text(["u1", "u1", "u2", "u3"])),
/// #     ("brand", text(["b"; 4])),
/// #     ("action", text(["purchase", "purchase", "purchase", "view"])),
/// #     ("at", text(["2024-05-01", "2024-06-01", "2024-06-28", "2024-06-29"])),
/// #     ("paid", Arc::new(Float64Array::from(vec![Some(50.0), Some(50.0), Some(30.0), None])) as _),
/// #     ("kind", text(["tea", "tea", "coffee", "tea"])),
/// # ])?;
/// # let schema = EventSchema::new("user", "brand", "action", "at").with_field("amount", "paid").with_field("category", "kind");
/// # let events = Events::from_batches(batch.schema(), vec![batch], schema, "Asia/Shanghai")?;
/// # let (model, brand, runtime) = (StageModel::preset("databank")?, ScopeValue::of("b"), Runtime::default());
/// # let june: (Day, Day) = ("2024-06-01".parse()?, "2024-06-30".parse()?);
/// // u1 buys for 50 on May 1 and June 1, u2 for 30 on June 28; u3 views on June 29.
/// let answer = membership(&events, june, &MembershipParams::default(), &runtime)?;
/// assert_eq!(answer.table["buyers"].as_primitive::<Int64Type>().values(), &[2]);
/// let visitors = membership_people(&events, june, &MembershipParams::default(), (&brand, "nonmember_visitors"), &runtime)?;
/// assert_eq!(visitors.len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn membership(
    source: &dyn Timelines,
    days: (Day, Day),
    params: &MembershipParams,
    runtime: &Runtime<'_>,
) -> Result<Answer, AnalysisError> {
    let prepared = Prepared::new(source, days, params)?;
    let each = |bucket: &Bucket<'_>, all: &mut Vec<Counted>| {
        all.resize(bucket.scopes.len(), Counted::default());
        let (mut reader, mut ids) = (OrderReader::new(prepared.trade, bucket).since(days.0.number()), Vec::new());
        bucket.timelines.for_each_history(|history| {
            let (groups, bought) = prepared.judge_history(bucket, &mut reader, &mut ids, &history);
            all[history.scope as usize] += Counted {
                groups: std::array::from_fn(|bit| i64::from(groups >> bit & 1)),
                bought,
            };
        });
    };
    let question = prepared.asked.question(prepared.days().0, prepared.days().1);
    let (mut all, about) = total(&prepared.asked, &question, runtime, each, crate::analyses::totals::add_places)?;
    all.resize(about.scopes.len(), Counted::default());
    let has_money = prepared.trade.has_amounts();
    let mut notes = money_notes(has_money);
    let unswitched = [("members", &params.members, 1), ("fans", &params.fans, 5)];
    for (parameter, state, group) in unswitched {
        if all.iter().all(|own| own.groups[group] == 0) {
            notes.push(format!("{parameter}: nobody is in the state {state:?} at the close of {}", days.1));
        }
    }
    let parameters = [
        ("start", json!(days.0.to_string())),
        ("end", json!(days.1.to_string())),
        ("members", json!(params.members)),
        ("fans", json!(params.fans)),
        (
            "convention",
            json!("the join rate and the comparison of members with others are ours"),
        ),
    ];
    Ok(prepared.asked.answer(
        columns(&prepared.asked, &about.scopes, &all, has_money)?,
        ("membership", "distinct consumers and orders; shares of one"),
        &parameters,
        about,
        notes,
        runtime,
    ))
}

fn columns(asked: &Asked<'_>, scopes: &[ScopeValue], all: &[Counted], has_money: bool) -> Result<arrow::array::RecordBatch, AnalysisError> {
    let group = |name: &str| MEMBERSHIP_GROUPS.iter().position(|known| *known == name).unwrap_or_default();
    let share =
        |above: &'static str, below: &'static str| shares(all.iter().map(|own| (own.groups[group(above)], own.groups[group(below)])));
    let [other, member] = [0, 1].map(|kind| move |own: &Counted| own.bought[kind].trading);
    let whole = |own: &Counted| own.bought[0].trading.gmv + own.bought[1].trading.gmv;
    let orders = |own: &Counted| own.bought[0].trading.orders + own.bought[1].trading.orders;
    let money = |of: &dyn Fn(&Counted) -> Option<f64>| figures(all.iter().map(|own| of(own).filter(|_| has_money)));
    let kind = |kind: usize| {
        [
            figures(all.iter().map(move |own| own.bought[kind].trading.frequency())),
            money(&|own| own.bought[kind].trading.order_value()),
            shares(all.iter().map(move |own| (own.bought[kind].again, own.bought[kind].trading.buyers))),
        ]
    };
    let groups = MEMBERSHIP_GROUPS.iter().enumerate();
    let [member_frequency, member_aov, member_again] = kind(1);
    let [other_frequency, other_aov, other_again] = kind(0);
    let mut columns: Vec<(&str, ArrayRef)> = vec![("scope", scope_array(scopes, asked.scope_type(), 0..scopes.len()))];
    columns.extend(groups.map(|(place, name)| (*name, counts(all.iter().map(move |own| own.groups[place])))));
    columns.extend([
        ("join_rate", share("new_members", "nonmember_visitors")),
        ("member_buyers_share", share("member_buyers", "buyers")),
        ("orders", counts(all.iter().map(orders))),
        ("member_orders", counts(all.iter().map(|own| member(own).orders))),
        ("nonmember_orders", counts(all.iter().map(|own| other(own).orders))),
        (
            "member_orders_share",
            shares(all.iter().map(|own| (member(own).orders, orders(own)))),
        ),
        ("gmv", money(&|own| Some(amount(whole(own))))),
        ("member_gmv", money(&|own| Some(amount(member(own).gmv)))),
        ("nonmember_gmv", money(&|own| Some(amount(other(own).gmv)))),
        ("member_gmv_share", money(&|own| ratio(amount(member(own).gmv), amount(whole(own))))),
        ("member_frequency", member_frequency),
        ("nonmember_frequency", other_frequency),
        ("member_aov", member_aov),
        ("nonmember_aov", other_aov),
        ("member_repurchase_rate", member_again),
        ("nonmember_repurchase_rate", other_again),
    ]);
    table(columns)
}

/// The consumers of a group of [`membership`].
///
/// # Errors
/// As [`membership`]; an unknown brand or group.
pub fn membership_people(
    source: &dyn Timelines,
    days: (Day, Day),
    params: &MembershipParams,
    (scope, group): (&ScopeValue, &str),
    runtime: &Runtime<'_>,
) -> Result<Audience, AnalysisError> {
    let bit = bit_of("who", group, &MEMBERSHIP_GROUPS)?;
    let prepared = Prepared::new(source, days, params)?;
    let made = format!("{scope} {group} from {} to {}", days.0, days.1);
    people_of_group(&prepared, scope, bit, &made, runtime)
}
