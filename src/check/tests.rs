//! Whatever is in a file, checking it ends, and ends soon, with findings of one line each.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const FILES: [&str; 5] = [
    include_str!("../../testdata/hooks-pod.yaml"),
    include_str!("../../testdata/pods/deployment.yaml"),
    include_str!("../../testdata/pods/cronjob.json"),
    include_str!("../../testdata/check/real/one-string-as-people-do.yaml"),
    include_str!("../../testdata/check/real/hooks-by-annotation.yaml"),
];

fn report(bytes: &[u8]) -> Report {
    let mut report = Report::default();
    of_bytes("file", Ok(bytes.to_vec()), input::Named::ByUser, &Options::default(), &mut report);
    report
}

/// What holds of every report.
fn sound(report: &Report) {
    assert!(report.findings.len() <= MAX_FINDINGS + 1);
    for finding in &report.findings {
        assert!(!finding.sentence.is_empty());
        for text in [&finding.sentence, &finding.cure] {
            assert!(!text.contains(char::is_control), "{text:?}");
        }
        assert!(finding.at.is_none_or(|at| at.line > 0 && at.column > 0));
    }
    assert!(!report.unreadable || report.count(Severity::Error) > 0);
}

/// A file with some of its parts taken out, doubled, or replaced by what breaks other things.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "",
        "\n",
        "  ",
        "\t",
        "---\n",
        "- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        "null",
        "-1",
        "99999999999999999999",
        "\"",
        "'",
        "&a ",
        "*a",
        "<<: ",
        "!x ",
        "|\n",
        "# ",
        "\u{202e}",
        "\u{7f}",
        "\0",
        "é",
        "{{ .Values.x }}",
        "preStop",
        "lifecycle",
        "bookend/pre-stop",
        "sleep",
        "$(X)",
        "sh",
        "-c",
    ]);
    let change = (any::<prop::sample::Index>(), 0..12_usize, words);
    (prop::sample::select(FILES.to_vec()), prop::collection::vec(change, 1..6)).prop_map(|(text, changes)| {
        let mut bytes = text.as_bytes().to_vec();
        for (place, length, word) in changes {
            let at = place.index(bytes.len() + 1);
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, word.bytes());
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_bytes_are_told_and_nothing_more(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        sound(&report(&bytes));
    }

    #[test]
    fn mutated_manifests_are_told_and_nothing_more(bytes in mutated()) {
        sound(&report(&bytes));
    }
}

#[test]
fn what_was_made_to_take_long_does_not() {
    let many = |count: usize, text: &dyn Fn(usize) -> String| (0..count).map(text).collect::<String>();
    let pod = |spec: &str| format!("kind: Pod\nspec:\n  containers:\n{spec}");
    let hostile = [
        ("containers", pod(&many(5_000, &|n| format!("  - {{name: c{n}, lifecyle: {{}}}}\n")))),
        (
            "unknown keys",
            format!(
                "kind: Pod\nspec: {{containers: [{{name: a}}],\n{}}}",
                many(20_000, &|n| format!("lifecycl{n}: 1,\n"))
            ),
        ),
        (
            "ports",
            pod(&format!(
                "  - name: a\n    ports:\n{}",
                many(10_000, &|n| format!("    - {{containerPort: 80, name: p{n}}}\n"))
            )),
        ),
        ("documents", "---\na: [\n".repeat(10_000)),
        ("marks", "---\n".repeat(200_000)),
        ("nesting", "[".repeat(1_000_000)),
        (
            "annotations",
            format!(
                "kind: Pod\nmetadata: {{annotations: {{{}}}}}\nspec: {{containers: [{}]}}",
                many(10_000, &|n| format!("c{n}.bookend/pre-stop: x,\n")),
                many(5_000, &|n| format!("{{name: c{n}}},\n")),
            ),
        ),
        (
            "a shell line",
            pod(&format!(
                "  - name: a\n    lifecycle: {{preStop: {{exec: {{command: [sh, -c, '{}']}}}}}}",
                "sleep 1; \"$(\" ".repeat(50_000)
            )),
        ),
        ("post stops", format!("extensions: {{postStop: [{}]}}", "{exec: {command: [a b]}},".repeat(5_000))),
        ("bomb", include_str!("../../testdata/pods/bomb.yaml").to_owned()),
    ];
    for (what, text) in hostile {
        let begun = Instant::now();
        let report = report(text.as_bytes());
        println!("{what}: {:?}", begun.elapsed());
        sound(&report);
        // A debug build on a loaded machine; a product of two lengths would take hours.
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} took {:?}", begun.elapsed());
    }
}

#[test]
fn a_document_that_is_none_does_not_hide_the_others() {
    let text = "kind: Pod\nspec: {containers: [\n---\nkind: Pod\nspec: {containers: [{name: a, lifecyle: {}}]}\n";
    let report = report(text.as_bytes());
    let found: Vec<_> = report.findings.iter().map(|finding| (finding.rule, finding.at.unwrap().line)).collect();
    assert_eq!(found.len(), 2, "{:?}", report.findings);
    assert_eq!(found[0].0, Rule::NotReadable);
    assert_eq!(found[1], (Rule::UnknownKey, 5));
    assert_eq!(report.exit_code(), 2);
}

#[test]
fn what_is_in_an_annotations_json_has_the_annotations_place() {
    let text = "kind: Pod\nmetadata:\n  annotations:\n    bookend/lifecycle: '{\"lifecycle\": {\"preStop\": {}}}'\n\
                spec: {containers: [{name: a}]}\n";
    let report = report(text.as_bytes());
    let [finding] = report.findings.as_slice() else { panic!("{:?}", report.findings) };
    assert_eq!((finding.rule, finding.at), (Rule::NoHandler, Some(Mark { line: 4, column: 24 })));
}

#[test]
fn what_containers_share_is_told_once() {
    let text = "kind: Pod\nspec: {terminationGracePeriodSecond: 3, containers: [{name: a}, {name: b}]}";
    assert_eq!(report(text.as_bytes()).findings.len(), 1);
}
