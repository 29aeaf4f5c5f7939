//! The orders of one history: purchases by order, what was refunded taken off.
//!
//! Our conventions (`python/docs/definitions/assets.md`): rows of one `order_id` are one order, dated by its first purchase; a purchase without
//! one is an order of its own. A refund that names an order is taken off that order, on the order's day; one that names an order
//! which is not there is left out; one that names none is taken off on its own day. An order that was refunded whole is no
//! order, and makes nobody a buyer.

use crate::event::EventSchema;
use crate::model::Program;
use crate::model::data::{Bounds, Condition, Operand};
use crate::model::program::Filter;
use crate::timeline::rows::{PayloadLayout, class_of, day_of};
use crate::timeline::{Bucket, History};

/// Where purchases and refunds stand in the rows that a program lets through.
#[derive(Debug, Clone, Copy)]
pub struct Trade {
    purchase: u64,
    refund: u64,
    /// Marks refunds that say an amount; 0 where the schema maps none.
    refund_amount: u64,
    /// The place of the amount among the sums, where the schema maps one.
    amount: Option<usize>,
}

impl Trade {
    /// Lets purchases and refunds through, as many days back as given from the first day of a question on (all if `None`), with
    /// their amounts and orders where the schema maps these. Nothing if the program is full.
    #[must_use]
    pub fn watch(program: &mut Program, schema: &EventSchema, days: Option<u32>) -> Option<Trade> {
        let vocabulary = schema.vocabulary();
        let mut code = |name: &str| program.watch(vocabulary.iter().position(|known| known == name), days);
        let (purchase, refund) = (code("purchase")?, code("refund")?);
        let has_amounts = schema.column("amount").is_some();
        let refund_amount = if has_amounts { code("refund")? } else { 0 };
        if has_amounts {
            // Holds for every number, and not where there is none.
            let any = Bounds {
                ge: Some(Operand::Int(i64::MIN)),
                ..Bounds::default()
            };
            program.filters.push(Filter {
                conditions: vec![("amount".to_owned(), Condition::Bounds(any))],
                leaves: refund_amount,
            });
        }
        program.orders |= schema.column("order_id").is_some();
        let amount = has_amounts.then(|| program.carry_sum("amount"));
        Some(Trade {
            purchase,
            refund,
            refund_amount,
            amount,
        })
    }

    /// Whether there are amounts.
    #[must_use]
    pub fn has_amounts(&self) -> bool {
        self.amount.is_some()
    }
}

/// One order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order {
    /// The day number of its first purchase.
    pub day: i32,
    /// What was paid less what was refunded, in units of [`Decimal6`](crate::base::Decimal6).
    pub amount: i128,
    /// What identifies it among the orders of the consumer; `(0, 0)` if nothing does.
    pub id: (u64, u64),
}

/// One purchase or refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The day number of its order; of a refund that names none, its own.
    pub day: i32,
    /// What was paid, or minus what was refunded.
    pub amount: i128,
    /// What identifies its order among those of the consumer; `(0, 0)` if nothing does.
    pub id: (u64, u64),
    /// Whether it is a purchase of an order that counts.
    pub ordered: bool,
    /// Its place in the history.
    pub row: usize,
}

/// A purchase or refund as it stands in the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    id: (u64, u64),
    /// Purchases come first.
    refund: bool,
    day: i32,
    amount: i64,
    /// A refund that says no amount.
    whole: bool,
    row: usize,
}

/// Reads the orders of histories; holds scratch space, one per thread.
#[derive(Debug)]
pub struct OrderReader<'a> {
    trade: Trade,
    masks: &'a [u64],
    layout: PayloadLayout,
    /// Rows before this day are not looked at.
    since: i32,
    entries: Vec<Entry>,
    orders: Vec<Order>,
    lines: Vec<Line>,
}

impl<'a> OrderReader<'a> {
    /// A reader of the histories of a bucket.
    #[must_use]
    pub fn new(trade: Trade, bucket: &Bucket<'a>) -> Self {
        OrderReader {
            trade,
            masks: bucket.masks,
            layout: bucket.timelines.layout(),
            since: i32::MIN,
            entries: Vec::new(),
            orders: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// The same reader, which does not look at rows before a day: an order is dated by its first row from then on.
    #[must_use]
    pub fn since(mut self, day: i32) -> Self {
        self.since = day;
        self
    }

    /// The orders of a history, in order of day.
    pub fn orders(&mut self, history: &History<'_>) -> &[Order] {
        self.read(history);
        &self.orders
    }

    /// The purchases and refunds of a history, by order.
    pub fn lines(&mut self, history: &History<'_>) -> &[Line] {
        self.read(history);
        &self.lines
    }

    /// The orders of a history, in order of day, and its purchases and refunds, by order.
    pub fn both(&mut self, history: &History<'_>) -> (&[Order], &[Line]) {
        self.read(history);
        (&self.orders, &self.lines)
    }

    fn read(&mut self, history: &History<'_>) {
        self.orders.clear();
        self.lines.clear();
        self.find_entries(history);
        let entries = std::mem::take(&mut self.entries);
        for order in entries.chunk_by(|left, right| left.id == right.id) {
            match order[0].id {
                (0, 0) => order.iter().for_each(|entry| self.alone(*entry)),
                _ => self.together(order, history),
            }
        }
        self.entries = entries;
        self.orders.sort_unstable();
    }

    fn find_entries(&mut self, history: &History<'_>) {
        let (width, sums) = (self.layout.width(), self.layout.sums_at());
        self.entries.clear();
        let mut named = false;
        for (row, &word) in history.words.iter().enumerate() {
            let mask = self.masks[class_of(word)];
            if mask & (self.trade.purchase | self.trade.refund) == 0 || day_of(word) < self.since {
                continue;
            }
            let payload = &history.payloads[row * width..(row + 1) * width];
            let id = if self.layout.orders { (payload[0], payload[1]) } else { (0, 0) };
            named |= id != (0, 0);
            self.entries.push(Entry {
                id,
                refund: mask & self.trade.refund != 0,
                day: day_of(word),
                amount: self.trade.amount.map_or(0, |place| payload[sums + place] as i64),
                whole: mask & self.trade.refund != 0 && mask & self.trade.refund_amount == 0,
                row,
            });
        }
        if named {
            self.entries.sort_unstable();
        }
    }

    /// A purchase or refund that names no order.
    fn alone(&mut self, entry: Entry) {
        let amount = signed(&entry);
        self.line(&entry, entry.day, amount, !entry.refund);
        if !entry.refund {
            self.orders.push(Order {
                day: entry.day,
                amount,
                id: entry.id,
            });
        }
    }

    /// The purchases and refunds of one order.
    fn together(&mut self, order: &[Entry], history: &History<'_>) {
        let (purchases, refunds) = order.split_at(order.partition_point(|entry| !entry.refund));
        let Some(day) = purchases.first().map(|first| first.day) else {
            return;
        };
        let paid: i128 = purchases.iter().map(signed).sum();
        let said: i128 = refunds.iter().map(signed).sum();
        // A refund that says no amount takes back what is left of its order. Of several the first does, and of several on one day
        // that with the least values beside it, since rows of a day stand in no order.
        let width = self.layout.width();
        let beside = |refund: &Entry| &history.payloads[refund.row * width..(refund.row + 1) * width];
        let whole = refunds.iter().filter(|refund| refund.whole);
        let taker = whole
            .min_by(|left, right| (left.day, beside(left)).cmp(&(right.day, beside(right))))
            .map(|refund| refund.row);
        let rest = if taker.is_some() { (paid + said).max(0) } else { 0 };
        let left = paid + said - rest;
        let counts = refunds.is_empty() || left > 0;
        for purchase in purchases {
            self.line(purchase, day, signed(purchase), counts);
        }
        for refund in refunds {
            let own = signed(refund) - if taker == Some(refund.row) { rest } else { 0 };
            self.line(refund, day, own, false);
        }
        if counts {
            self.orders.push(Order {
                day,
                amount: left,
                id: order[0].id,
            });
        }
    }

    fn line(&mut self, entry: &Entry, day: i32, amount: i128, ordered: bool) {
        self.lines.push(Line {
            day,
            amount,
            id: entry.id,
            ordered,
            row: entry.row,
        });
    }
}

/// What an entry adds: refunds are taken off, whatever their sign in the data.
fn signed(entry: &Entry) -> i128 {
    let amount = i128::from(entry.amount);
    if entry.refund { -amount.abs() } else { amount }
}

/// Whether the buyer of these orders, which are in order of day, is new in a period; nothing for one who did not buy in it.
#[must_use]
pub fn is_new(orders: &[Order], (start, end): (i32, i32), lookback: i32) -> Option<bool> {
    let first = orders.iter().find(|order| (start..=end).contains(&order.day))?.day;
    Some(!orders.iter().any(|order| (first - lookback..first).contains(&order.day)))
}
