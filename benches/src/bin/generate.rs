//! Writes a generated event log; see `--help`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use aipl_benches::args::{self, Command, USAGE};
use aipl_benches::generate::write_parquet;

fn main() -> ExitCode {
    let command = match args::parse(std::env::args().skip(1)) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("generate: {error}");
            return ExitCode::from(2);
        }
    };
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("generate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn std::error::Error>> {
    let mut stdout = io::stdout().lock();
    match command {
        Command::Help => stdout.write_all(USAGE.as_bytes())?,
        Command::Generate { params, out } => {
            let start = Instant::now();
            for file in write_parquet(&params, &out)? {
                let (path, mib) = (file.path.display(), file.bytes as f64 / 1024.0 / 1024.0);
                writeln!(stdout, "{path}: {} rows, {mib:.1} MiB", file.rows)?;
            }
            writeln!(stdout, "{:.1} s", start.elapsed().as_secs_f64())?;
        }
    }
    Ok(())
}
