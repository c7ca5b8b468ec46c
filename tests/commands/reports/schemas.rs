//! Tests that compare the JSON output with docs/schemas, and the names in the schemas with docs/json.md.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jsonschema::{Registry, Validator};
use pipeline::pipeline::kind::Kind;
use serde_json::{Value, json};

use super::dir_with_input;
use super::exposition::parse;
use crate::support::{TestDir, text};

const SCHEMAS: [&str; 6] = ["report", "failure", "progress", "inspect", "bench", "tune"];

fn docs(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn schema(name: &str) -> Value {
    serde_json::from_str(&docs(&format!("schemas/{name}.schema.json"))).unwrap()
}

/// A validator for the schema `name`. Other schemas refer to the schema of the report, so that is registered.
fn validator(name: &str) -> Validator {
    let schema = schema(name);
    let registry = Registry::new().add("urn:pipeline:report", self::schema("report")).unwrap().prepare().unwrap();
    jsonschema::draft202012::meta::validate(&schema).unwrap_or_else(|error| panic!("{name}: {error}"));
    jsonschema::options().with_registry(&registry).build(&schema).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn validate(validator: &Validator, value: &Value, what: &str) {
    let errors: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{what}: {errors:?}\n{value}");
}

/// Command lines that make and read sealed and bare files of both engines, with and without tables.
fn lines(recipient: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for engine in ["channels", "mutex"] {
        lines.push(format!("process in {engine}.zst --chunk-size 64K --engine {engine}"));
        lines.push(format!("process in {engine}.age --no-compress -r {recipient} --engine {engine}"));
        lines.push(format!("process in {engine}.zst.age -r {recipient} --engine {engine}"));
        for name in ["zst", "age", "zst.age"] {
            lines.push(format!("restore {engine}.{name} {engine}.{name}.back -i key --engine {engine}"));
        }
    }
    lines.extend(["zst", "age", "zst.age"].map(|name| format!("verify channels.{name} -i key")));
    lines.extend(["zst", "age", "zst.age"].map(|name| format!("cat channels.{name} -i key --range 5..7")));
    lines.push("restore no-table back".to_owned());
    lines.push("process empty empty.zst".to_owned());
    lines.push("restore channels.zst.age inside -i key --no-decompress".to_owned());
    lines
}

/// Makes `no-table`, a file without its seek table, and `empty`.
fn write_no_table(dir: &TestDir) {
    dir.ok("process in with-table --chunk-size 64K -q");
    let bytes = dir.read("with-table");
    let count = u32::from_le_bytes(bytes[bytes.len() - 9..bytes.len() - 5].try_into().unwrap()) as usize;
    dir.write("no-table", &bytes[..bytes.len() - 17 - 12 * count]);
    dir.write("empty", b"");
}

#[test]
fn reports_and_progress_are_as_the_schemas_say() {
    let (dir, recipient) = dir_with_input();
    write_no_table(&dir);
    let (report, progress) = (validator("report"), validator("progress"));
    for line in lines(&recipient) {
        let ran = dir.ok(&format!("{line} --stats json --stats-file report.json --progress json"));
        validate(&report, &serde_json::from_slice(&dir.read("report.json")).unwrap(), &line);
        let end = ran.stderr.lines().rfind(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{line}: {ran}"));
        let end: Value = serde_json::from_str(end).unwrap();
        validate(&progress, &end, &line);
        assert_eq!(end["event"], "done", "{line}");
    }
    let good = dir.read("channels.zst");
    dir.write("bad", &good[..good.len() / 2]);
    let ran = dir.run("restore bad back2 --progress json");
    let event: Value = serde_json::from_str(ran.stderr.lines().next().unwrap()).unwrap();
    validate(&progress, &event, "a run that fails");
    assert_eq!(event["event"], "failed");
}

/// Covers damage with its place, a missing input, a wrong key, and a range.
#[test]
fn failures_are_as_the_schema_says_and_tell_kind_place_and_exit_code() {
    let (dir, recipient) = dir_with_input();
    let failure = validator("failure");
    dir.ok("process in whole.zst --chunk-size 64K -q");
    dir.ok(&format!("process in sealed.age --no-compress -r {recipient} -q"));
    dir.ok("keygen -o other");
    let mut frames = dir.read("whole.zst");
    let second_frame_offset = frame_len(&frames);
    frames[second_frame_offset + 40] ^= 0x55;
    dir.write("bad.zst", &frames);
    let mut sealed = dir.read("sealed.age");
    let last = sealed.len() - 1;
    sealed[last] ^= 1;
    dir.write("bad.age", &sealed);
    let last_segment = 300_000 / (64 * 1024);
    for (line, kind, path, frame, segment, exit_code) in [
        ("restore bad.zst back", "damaged_frame", "'bad.zst'", Some(1), None, 4),
        ("verify bad.age -i key", "damaged_segment", "'bad.age'", None, Some(last_segment), 4),
        ("restore none back", "not_found", "'none'", None, None, 1),
        ("cat whole.zst --range 0..1T", "range_past_end", "'whole.zst'", None, None, 1),
        ("restore sealed.age back -i other", "no_match", "'sealed.age'", None, None, 5),
        (&format!("rekey whole.zst back -i key -r {recipient}"), "not_age", "'whole.zst'", None, None, 1),
    ] {
        let ran = dir.run(&format!("{line} -q --stats json --stats-file report.json"));
        assert_eq!(ran.status.code(), Some(exit_code), "{line}: {ran}");
        let told: Value = serde_json::from_slice(&dir.read("report.json")).unwrap();
        validate(&failure, &told, line);
        let error = &told["error"];
        assert_eq!((&error["kind"], &error["exit_code"]), (&json!(kind), &json!(exit_code)), "{line}: {told}");
        assert_eq!((&error["frame"], &error["segment"]), (&json!(frame), &json!(segment)), "{line}: {told}");
        assert_eq!(error["path"], json!(path), "{line}: {told}");
        assert_eq!(
            error["offset"].is_null(),
            frame.is_none() && segment.is_none() && kind != "range_past_end",
            "{line}: {told}"
        );
    }
}

/// Length of the first frame of `file`.
fn frame_len(file: &[u8]) -> usize {
    zstd::zstd_safe::find_frame_compressed_size(file).unwrap()
}

#[test]
fn every_kind_of_failure_is_described() {
    let known: BTreeSet<String> = Kind::ALL.iter().map(|kind| kind.word().to_owned()).collect();
    let schema = schema("failure");
    let listed = schema["properties"]["error"]["properties"]["kind"]["enum"].as_array().unwrap();
    assert_eq!(listed.iter().map(|word| word.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>(), known);
    let page = docs("json.md");
    let section = page.split("### Kinds of failure").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(rows.map(str::to_owned).collect::<BTreeSet<_>>(), known);
}

#[test]
fn progress_on_the_way_is_as_the_schema_says() {
    let (dir, _) = dir_with_input();
    let progress = validator("progress");
    for engine in ["channels", "mutex"] {
        // A slow command, so that progress prints a line before the end.
        let line =
            format!("process --stdin-from-command slow --force -q --progress json --engine {engine} -- sleep 1.5");
        let said = dir.ok(&line).stderr;
        let events: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(events.len() > 1 && events[0]["event"] == "progress", "{said}");
        for event in events {
            validate(&progress, &event, &line);
        }
    }
}

/// Makes `tree`: a file whose output is blocked, another file, an empty directory, and a FIFO.
fn write_tree(dir: &TestDir) {
    std::fs::create_dir_all(dir.path("tree/empty")).unwrap();
    std::fs::create_dir(dir.path("out")).unwrap();
    for name in ["tree/good", "tree/bad", "out/bad.zst"] {
        dir.write(name, &text(300_000, 1));
    }
    let made = std::process::Command::new("mkfifo").arg(dir.path("tree/fifo")).status().unwrap();
    assert!(made.success());
}

#[test]
fn batches_are_as_the_schemas_say() {
    let (dir, recipient) = dir_with_input();
    write_tree(&dir);
    let (report, progress) = (validator("report"), validator("progress"));
    let run = |line: &str, code: i32| -> Value {
        let ran = dir.run(&format!("{line} --stats json --stats-file report.json --progress json"));
        assert_eq!(ran.status.code(), Some(code), "{line}: {ran}");
        let end = ran.stderr.lines().rfind(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{line}: {ran}"));
        let end: Value = serde_json::from_str(end).unwrap();
        validate(&progress, &end, line);
        let told: Value = serde_json::from_slice(&dir.read("report.json")).unwrap();
        validate(&report, &told, line);
        assert_eq!(end["file_count"], told["batch"]["file_count"], "{line}");
        told
    };
    let told = run("process tree out", 3);
    let counts = ["file_count", "done_count", "failed_count", "skipped_count"].map(|name| &told["batch"][name]);
    assert_eq!(counts, [&json!(2), &json!(1), &json!(1), &json!(1)], "{told}");
    for (ended, source, exit_code) in
        [("done", "tree/good", None), ("failed", "tree/bad", Some(1)), ("skipped", "tree/fifo", None)]
    {
        let file = told["files"].as_array().unwrap().iter().find(|file| file["ended"] == ended).unwrap();
        assert_eq!((&file["source"], &file["exit_code"]), (&json!(source), &json!(exit_code)), "{told}");
        assert_eq!(file["message"].is_null(), ended == "done", "{told}");
    }
    let told = run("process tree out --on-error stop", 1);
    assert!(told["batch"]["stopped"].is_string(), "{told}");
    for (line, code, ended, count) in [
        ("process tree out --force", 3, "done_count", 1),
        ("process tree out", 3, "unchanged_count", 2),
        ("process tree out --level 1", 3, "redone_count", 2),
        ("verify out", 0, "done_count", 2),
        ("restore out back", 0, "done_count", 2),
        (&format!("process tree sealed -r {recipient}"), 3, "done_count", 2),
        (&format!("rekey sealed --in-place -i key -r {recipient} -a"), 0, "file_count", 2),
    ] {
        let told = run(line, code);
        assert_eq!(told["batch"][ended], count, "{line}: {told}");
    }
}

#[test]
fn progress_of_a_batch_on_the_way_is_as_the_schema_says() {
    let (dir, _) = dir_with_input();
    write_tree(&dir);
    let progress = validator("progress");
    let said = dir.run("process tree slow -q --progress json --limit-rate 200K").stderr;
    let events: Vec<Value> =
        said.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.len() > 1 && !events[0]["in_flight"].as_array().unwrap().is_empty(), "{said}");
    for event in events {
        validate(&progress, &event, "a batch");
    }
}

#[test]
fn inspections_are_as_the_schema_says() {
    let (dir, recipient) = dir_with_input();
    write_no_table(&dir);
    let inspect = validator("inspect");
    dir.ok("process in zst -q");
    dir.ok("process empty empty.zst -q");
    dir.ok(&format!("process in age --no-compress -r {recipient} -q"));
    dir.ok(&format!("process in armored -a -r {recipient} -q"));
    dir.ok(&format!("process in both -r {recipient} -q"));
    for line in ["zst", "empty.zst", "no-table", "age", "age -i key", "armored -i key", "both", "both -i key"] {
        let ran = dir.ok(&format!("inspect {line} --json"));
        validate(&inspect, &serde_json::from_slice(&ran.stdout).unwrap(), line);
    }
}

#[test]
fn comparisons_are_as_the_schema_says() {
    let (dir, _) = dir_with_input();
    let comparison = validator("bench");
    // The result also includes the installed peers.
    let ran = dir.ok("bench in --rounds 1 --workers 1 --channel-depth 2 --dir . --json -q");
    validate(&comparison, &serde_json::from_slice(&ran.stdout).unwrap(), "bench");
}

#[test]
fn trials_are_as_the_schema_says() {
    let (dir, _) = dir_with_input();
    let ran = dir.ok("tune in --rounds 1 --sample 64K --json -q");
    validate(&validator("tune"), &serde_json::from_slice(&ran.stdout).unwrap(), "tune");
}

#[test]
fn a_schema_refuses_what_it_does_not_describe() {
    let (dir, _) = dir_with_input();
    let (validator, report) = (validator("report"), dir.report("process in out"));
    validate(&validator, &report, "as it is");
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut report = report.clone();
        change(&mut report);
        assert!(!validator.is_valid(&report), "{report}");
    };
    changed(&|report| report["more"] = json!(1));
    changed(&|report| report["stages"][0]["service_ns"]["more"] = json!(1));
    changed(&|report| drop(report.as_object_mut().unwrap().remove("wall_ns")));
    changed(&|report| report["wall_ns"] = json!("1 s"));
    changed(&|report| report["version"] = json!(2));
}

/// Names of properties, at any depth.
fn properties(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            let names = map.get("properties").and_then(Value::as_object);
            found.extend(names.iter().flat_map(|names| names.keys().cloned()));
            map.values().for_each(|value| properties(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| properties(value, found)),
        _ => {}
    }
}

#[test]
fn every_field_and_every_metric_is_described() {
    let (dir, _) = dir_with_input();
    let page = docs("json.md");
    for name in SCHEMAS {
        let section =
            page.split("\n## ").find(|section| section.contains(&format!("({})", link(name)))).unwrap_or_default();
        let mut fields = BTreeSet::new();
        properties(&schema(name), &mut fields);
        assert!(fields.len() > 5, "{name}");
        for field in fields {
            assert!(section.contains(&format!("`{field}`")), "docs/json.md says nothing of {field} of {name}");
        }
    }
    dir.ok("process in out -q");
    for line in ["restore out back", "restore out back -f --engine mutex"] {
        dir.ok(&format!("{line} -q --prometheus run.prom"));
        for name in parse(&String::from_utf8(dir.read("run.prom")).unwrap()).into_keys() {
            assert!(page.contains(&format!("`{name}`")), "docs/json.md says nothing of {name}");
        }
    }
}

fn link(name: &str) -> String {
    format!("schemas/{name}.schema.json")
}
