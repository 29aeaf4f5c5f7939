//! Consumer assets on random logs: homes, threads and the order of rows do not matter, and identities hold.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

#[path = "twin/tables.rs"]
mod tables;

use std::sync::Arc;

use aipl_core::analyses::{
    BenefitGroups, BenefitParams, BridgeParams, CellMeasure, ConcentrationParams, CrosstabParams, CustomerParams, EquityParams, FastParams,
    GmvParams, GmvPeople, GrowParams, MembershipParams, PenetrationParams, ProfileParams, RetentionParams, RfmParams, SnapshotParams,
    aac_bridge, benefits, bridge_people, cohort_track, concentration, consumer_equity, crosstab, fast, fast_people, gmv_aac, gmv_people,
    grow, membership, new_vs_existing, penetration, profile, retention, rfm, snapshot,
};
use aipl_core::audience::Audience;
use aipl_core::base::statistics::Split;
use aipl_core::base::{Day, IdKind, IdValue};
use aipl_core::event::EventSchema;
use aipl_core::model::StageModel;
use aipl_core::source::Events;
use aipl_core::timeline::{Runtime, ScopeValue, Timelines, Universe};
use arrow::array::{ArrayRef, AsArray, Date32Array, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use proptest::prelude::*;
use proptest::sample::select;
use tables::{day, rows};

const FIRST: i32 = 19_800;
const DAYS: i32 = 120;
const BEHAVIORS: [&str; 9] = [
    "purchase",
    "refund",
    "view",
    "add_to_cart",
    "member_join",
    "member_leave",
    "follow",
    "coupon_issue",
    "coupon_use",
];

#[derive(Debug, Clone)]
struct Row {
    consumer: u8,
    brand: u8,
    behavior: &'static str,
    day: i32,
    cents: Option<i32>,
    order: Option<u8>,
    category: Option<u8>,
}

fn row() -> impl Strategy<Value = Row> {
    let often = prop_oneof![3 => Just("purchase"), 4 => select(BEHAVIORS.to_vec())];
    let parts = (
        0..6u8,
        0..3u8,
        often,
        FIRST..FIRST + DAYS,
        prop::option::weighted(0.9, 0..10_000),
        prop::option::weighted(0.7, 0..12u8),
        prop::option::weighted(0.8, 0..3u8),
    );
    parts.prop_map(|(consumer, brand, behavior, day, cents, order, category)| Row {
        consumer,
        brand,
        behavior,
        day,
        cents,
        order,
        category,
    })
}

fn open(rows: &[Row]) -> Events {
    let named = |letter: &'static str, of: fn(&Row) -> Option<u8>| {
        Arc::new(
            rows.iter()
                .map(|row| of(row).map(|number| format!("{letter}{number}")))
                .collect::<StringArray>(),
        ) as ArrayRef
    };
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("user", named("u", |row| Some(row.consumer)), true),
        ("brand", named("b", |row| Some(row.brand)), true),
        (
            "action",
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.behavior))) as _,
            true,
        ),
        (
            "at",
            Arc::new(Date32Array::from_iter_values(rows.iter().map(|row| row.day))) as _,
            true,
        ),
        (
            "paid",
            Arc::new(
                rows.iter()
                    .map(|row| row.cents.map(|cents| f64::from(cents) / 100.0))
                    .collect::<Float64Array>(),
            ) as _,
            true,
        ),
        ("basket", named("o", |row| row.order), true),
        ("kind", named("k", |row| row.category), true),
    ])
    .expect("one length");
    let schema = EventSchema::new("user", "brand", "action", "at")
        .with_field("amount", "paid")
        .with_field("order_id", "basket")
        .with_field("category", "kind")
        .with_own_behaviors(["coupon_issue", "coupon_use"]);
    Events::from_batches(batch.schema(), vec![batch], schema, "Asia/Shanghai").expect("opens")
}

fn brand() -> ScopeValue {
    ScopeValue::of("b1")
}

/// Days of a period within the log, ascending.
#[derive(Debug, Clone, Copy)]
struct Period(Day, Day);

fn period() -> impl Strategy<Value = Period> {
    (FIRST - 2..FIRST + DAYS, 0..60i32).prop_map(|(start, length)| Period(day(start), day(start + length)))
}

/// Every table of every analysis, as text.
fn all_tables(source: &dyn Timelines, Period(start, end): Period, threads: usize) -> Vec<Vec<Vec<String>>> {
    let runtime = Runtime::with_threads(threads).expect("threads");
    let model = StageModel::preset("databank").expect("preset");
    let some: [IdValue; 2] = ["u1".into(), "u2".into()];
    let universe = Arc::new(Universe::of_ids(IdKind::Text, some.clone()));
    let audience = Audience::of_ids(&universe, some, "some");
    let days = (start, end);
    let later = (end + 1, end + 20);
    let track = cohort_track(source, &model, &audience, &[start, end], None, &runtime).expect("answers");
    let split = grow(
        source,
        (days, later),
        &GrowParams {
            by: vec!["category".into(), "customers".into()],
            ..GrowParams::default()
        },
        &runtime,
    )
    .expect("answers");
    let scored = rfm(source, end, &RfmParams::default(), &runtime).expect("answers");
    let crossed = CrosstabParams {
        rows: "category".into(),
        columns: "brand".into(),
        measure: CellMeasure::Gmv,
        days,
        scopes: None,
        within: Some(audience.clone()),
        attributes: None,
    };
    let described = ProfileParams {
        by: vec!["category".into()],
        base: None,
        days,
        behaviors: Vec::new(),
        scopes: None,
        attributes: None,
    };
    let coupons = BenefitParams {
        issued: Some("coupon_issue".into()),
        used: "coupon_use".into(),
        by: BenefitGroups::Stage(model.clone()),
        ..BenefitParams::default()
    };
    let mut tables = vec![
        fast(source, &model, days, &FastParams::default(), &runtime).expect("answers").table,
        gmv_aac(source, start, end, &GmvParams::default(), &runtime).expect("answers").table,
        aac_bridge(source, start, end, &BridgeParams::default(), &runtime)
            .expect("answers")
            .table,
        new_vs_existing(source, days, &CustomerParams::default(), &runtime)
            .expect("answers")
            .table,
        penetration(source, days, &PenetrationParams::default(), &runtime)
            .expect("answers")
            .table,
        crosstab(source, &crossed, &runtime).expect("answers").table,
        profile(source, &audience, &described, &runtime).expect("answers").table,
        concentration(source, &model, &audience, days, &ConcentrationParams::default(), &runtime)
            .expect("answers")
            .table,
        retention(source, days, &RetentionParams::default(), &runtime)
            .expect("answers")
            .table,
        membership(source, days, &MembershipParams::default(), &runtime)
            .expect("answers")
            .table,
        benefits(source, days, &coupons, &runtime).expect("answers").table,
        track.stages,
        track.summary,
        split.groups,
        split.totals,
        scored.table().expect("a table").table,
        scored.summary().expect("a table").table,
    ];
    let params = EquityParams {
        horizon: 10,
        snapshots: 1,
        ..EquityParams::default()
    };
    // Where the history is too short, all homes refuse.
    if let Ok(equity) = consumer_equity(source, &model, end, &params, &runtime) {
        tables.extend([equity.stages, equity.totals]);
    }
    tables.iter().map(rows).collect()
}

fn ints(table: &RecordBatch, name: &str) -> Vec<i64> {
    table[name].as_primitive::<Int64Type>().values().to_vec()
}

fn floats(table: &RecordBatch, name: &str) -> Vec<Option<f64>> {
    table[name].as_primitive::<Float64Type>().iter().collect()
}

fn near(left: f64, right: f64) -> bool {
    (left - right).abs() <= 1e-9 * left.abs().max(right.abs()).max(1.0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn homes_threads_and_order_do_not_matter(mut rows in prop::collection::vec(row(), 0..80), period in period(), turn in 0..80usize) {
        let events = open(&rows);
        let expected = all_tables(&events, period, 1);
        let log = events.log(None, None, &Runtime::default()).expect("loads");
        prop_assert_eq!(&all_tables(&log, period, 2), &expected);
        let middle = turn.min(rows.len());
        rows.rotate_left(middle);
        prop_assert_eq!(&all_tables(&open(&rows), period, 2), &expected);
    }

    #[test]
    fn identities_hold(rows in prop::collection::vec(row(), 0..80), period in period()) {
        let log = open(&rows).log(None, None, &Runtime::default()).expect("loads");
        let (runtime, Period(start, end)) = (Runtime::default(), period);
        let model = StageModel::preset("databank").expect("preset");
        let bridge = aac_bridge(&log, start, end, &BridgeParams::default(), &runtime).expect("answers").table;
        let [first, new, returned, lapsed, last] = ["start", "new", "returned", "lapsed", "end"].map(|name| ints(&bridge, name));
        for place in 0..bridge.num_rows() {
            prop_assert_eq!(last[place], first[place] + new[place] + returned[place] - lapsed[place]);
        }
        for method in [Split::Lmdi, Split::Shapley] {
            let params = GrowParams { by: vec!["category".into()], method, ..GrowParams::default() };
            let split = grow(&log, ((start, end), (end + 1, end + 30)), &params, &runtime).expect("answers");
            for table in [&split.groups, &split.totals] {
                let change = floats(table, "change");
                let parts = ["penetration", "repurchase", "price", "extension", "new_products"].map(|name| floats(table, name));
                for (place, change) in change.iter().enumerate() {
                    let sum: f64 = parts.iter().filter_map(|part| part[place]).sum();
                    prop_assert!(near(sum, change.unwrap_or_default()), "{sum} {change:?}");
                }
            }
        }
        let shares = penetration(&log, (start, end), &PenetrationParams::default(), &runtime).expect("answers").table;
        let factors = ["brand_penetration", "relative_frequency", "relative_price"].map(|name| floats(&shares, name));
        for (place, share) in floats(&shares, "gmv_share").into_iter().enumerate() {
            if let [Some(a), Some(b), Some(c)] = factors.each_ref().map(|factor| factor[place]) {
                prop_assert!(share.is_some_and(|share| near(share, a * b * c)));
            }
        }
        let health = fast(&log, &model, (end, end), &FastParams::default(), &runtime).expect("answers").table;
        let snap = snapshot(&log, &model, end, &SnapshotParams::default(), &runtime).expect("answers");
        prop_assert_eq!(ints(&health, "fertility").iter().sum::<i64>(), ints(&snap.counts(), "consumers").iter().sum::<i64>());
        let monthly = gmv_aac(&log, start, end, &GmvParams::default(), &runtime).expect("answers").table;
        let kinds = new_vs_existing(&log, (start, end), &CustomerParams::default(), &runtime).expect("answers").table;
        let sum = |table: &RecordBatch| floats(table, "gmv").into_iter().flatten().sum::<f64>();
        prop_assert!(near(sum(&monthly), sum(&kinds)));
    }

    #[test]
    fn cells_give_their_people(rows in prop::collection::vec(row(), 1..80), period in period()) {
        let log = open(&rows).log(None, None, &Runtime::default()).expect("loads");
        let (runtime, Period(start, end), model) = (Runtime::default(), period, StageModel::preset("databank").expect("preset"));
        let place = |table: &RecordBatch| tables::rows(table).iter().position(|row| row.iter().any(|cell| cell == "b1"));
        let bridge = aac_bridge(&log, start, end, &BridgeParams::default(), &runtime).expect("answers").table;
        if let Some(row) = place(&bridge) {
            for class in ["start", "new", "returned", "lapsed", "end"] {
                let found = bridge_people(&log, (start, end), &BridgeParams::default(), &brand(), class, &runtime).expect("answers");
                prop_assert_eq!(found.len() as i64, ints(&bridge, class)[row]);
            }
        }
        let health = fast(&log, &model, (start, end), &FastParams::default(), &runtime).expect("answers").table;
        if let Some(row) = place(&health) {
            for group in ["fertility", "aipl_end", "advanced", "superiority", "thriving"] {
                let found = fast_people(&log, &model, (start, end), &FastParams::default(), (&brand(), group), &runtime).expect("answers");
                prop_assert_eq!(found.len() as i64, ints(&health, group)[row]);
            }
        }
        let params = GmvParams { step: aipl_core::analyses::Step::Month, ..GmvParams::default() };
        let monthly = gmv_aac(&log, start, end, &params, &runtime).expect("answers").table;
        let brands = monthly["scope"].as_string::<i32>();
        let last = (0..monthly.num_rows()).rfind(|row| brands.value(*row) == "b1");
        if let Some(row) = last {
            for (name, who) in [("buyers", GmvPeople::Buyers), ("aac", GmvPeople::Active)] {
                let found = gmv_people(&log, (start, end), &params, (&brand(), end), who, &runtime).expect("answers");
                prop_assert_eq!(found.len() as i64, ints(&monthly, name)[row]);
            }
        }
    }
}
