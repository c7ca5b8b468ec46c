//! `pipeline man`: writes one man page for the program and one per command, from the same texts as `--help`.
//!
//! Pages carry no date, so that the output is reproducible.

use std::io::Write;

use anyhow::Context;
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::args::{Guide, ManArgs, help};
use crate::cli::problem::{Exit, quoted};
use crate::cli::session::Session;
use crate::store::output::{Origin, Output, OutputOptions};
use crate::task::publish::publish;

/// Runs the command.
pub fn run(args: ManArgs) -> anyhow::Result<Exit> {
    let pages = pages()?;
    let mut session = Session::start_quiet()?;
    let wake = session.wake.clone();
    let output_options = OutputOptions { force: args.force, sync: true, umask: session.umask };
    std::fs::create_dir_all(&args.dir).with_context(|| format!("cannot make the directory {}", quoted(&args.dir)))?;
    let outputs: Vec<Output> = pages
        .iter()
        .map(|page| Output::prepare(&args.dir.join(&page.name), &[], output_options))
        .collect::<Result<_, _>>()?;
    for (page, output) in pages.iter().zip(&outputs) {
        let mut writer = output.writer(&wake)?;
        writer.write_all(page.text.as_bytes()).with_context(|| format!("cannot write {}", output.name()))?;
    }
    for output in outputs {
        publish(&mut session, output, Origin::default())?;
    }
    Ok(Exit::Done)
}

/// The preamble that `Roff` writes before each section and a page needs once: it keeps an apostrophe from becoming a quotation mark.
const PREAMBLE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// One man page, by file name.
struct Page {
    name: String,
    text: String,
}

/// The page of the program and of each command, subcommands included.
fn pages() -> anyhow::Result<Vec<Page>> {
    let mut program = help::full_command();
    program.build();
    let names = names(&program);
    let mut pages = Vec::new();
    let mut commands = vec![&program];
    while let Some(command) = commands.pop() {
        pages.push(page(command, &names)?);
        commands.extend(command.get_subcommands());
    }
    Ok(pages)
}

/// The page names of a command and its subcommands.
fn names(command: &Command) -> Vec<String> {
    let own = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    [own].into_iter().chain(command.get_subcommands().flat_map(names)).collect()
}

fn page(command: &Command, names: &[String]) -> anyhow::Result<Page> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let man = Man::new(command.clone().subcommand_help_heading("COMMANDS").subcommand_value_name("COMMAND"));
    let mut page = Vec::new();
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut roff = Roff::new();
    exit_status(&mut roff);
    if let Some(guide) = help::guide(name) {
        examples(&mut roff, guide);
    }
    see_also(&mut roff, names.iter().map(String::as_str).filter(|other| *other != name));
    roff.to_writer(&mut page)?;
    // Written by hand, because the empty date must be in quotes.
    let title =
        format!(".TH {} 1 \"\" \"pipeline {}\" \"User Commands\"\n", name.to_uppercase(), env!("CARGO_PKG_VERSION"));
    let body = ascii(&String::from_utf8_lossy(&page)).replace(PREAMBLE, "");
    Ok(Page { name: format!("{name}.1"), text: format!("{PREAMBLE}{title}{body}") })
}

fn exit_status(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in help::EXIT_CODES {
        roff.control("TP", []);
        roff.text([bold(code)]);
        roff.text([roman(meaning)]);
    }
}

fn examples(roff: &mut Roff, guide: &Guide) {
    roff.control("SH", ["EXAMPLES"]);
    for example in guide.examples {
        roff.control("TP", []);
        roff.text([bold(example.line)]);
        roff.text([roman(example.does)]);
    }
}

fn see_also<'a>(roff: &mut Roff, names: impl Iterator<Item = &'a str>) {
    roff.control("SH", ["SEE ALSO"]);
    let others = names.chain(["zstd", "age"]).map(|name| format!("{name}(1)")).collect::<Vec<_>>().join(", ");
    roff.text([roman(others)]);
}

/// `page` in ASCII, with roff escapes for other characters.
fn ascii(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    for c in page.chars() {
        match c {
            '…' => text.push_str("..."),
            c if c.is_ascii() => text.push(c),
            c => text.push_str(&format!("\\[u{:04X}]", u32::from(c))),
        }
    }
    text
}
