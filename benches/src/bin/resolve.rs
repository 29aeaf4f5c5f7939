//! Resolves identities of Parquet files and walks all persons, with the time and memory of each step: `resolve FILES
//! TYPE...`, as
//! `resolve 'links/*.parquet' phone device`.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use aipl_core::base::Zone;
use aipl_core::identity::{Guards, IdType, Reading};
use aipl_core::source::{OnError, ReadOptions, open_table};
use aipl_core::timeline::{Runtime, resolve_identities};

#[allow(clippy::print_stdout, reason = "it is a program")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let files = arguments.next().ok_or("usage: resolve FILES TYPE...")?;
    let names: Vec<String> = arguments.collect();
    let types = names.iter().map(|name| IdType::named(name)).collect();
    let reading = Reading {
        seen_at: None,
        source: None,
        zone: Arc::new(Zone::named("UTC")?),
    };
    let runtime = Runtime::default();
    let started = Instant::now();
    let source = open_table(&[files], &names, ReadOptions::default())?;
    let people = resolve_identities(&*source, types, Guards::default(), &reading, OnError::Reject, &runtime)?;
    println!(
        "resolved {} rows to {} persons of {} ids in {:?}",
        people.rows(),
        people.len(),
        people.ids(),
        started.elapsed()
    );
    let started = Instant::now();
    let (count, persons) = runtime.run(|| people.persons());
    println!("{count} rows of persons counted in {:?}", started.elapsed());
    let rows: usize = persons.map(|batch| batch.map(|batch| batch.num_rows())).sum::<Result<_, _>>()?;
    println!(
        "{rows} rows of persons made in {:?}; the map holds {} MiB",
        started.elapsed(),
        people.nbytes() >> 20
    );
    Ok(())
}
