//! The SVG and the page: what is in them, and that nothing in them collides.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::super::letters::{LABEL, NAME, SMALL, WORDS, width};
use super::*;
use crate::lifecycle::model::{Entry, Handler, Policy};

/// A file's name, and the lives that are drawn together in it.
fn album() -> Vec<(String, Vec<Life>)> {
    let mut album: Vec<(String, Vec<Life>)> =
        gallery().iter().map(|(name, script)| (name.to_string(), vec![script.life()])).collect();
    let mut add = |name: &str, lives: Vec<Life>| album.push((name.to_owned(), lives));
    add("goes on", vec![Life::of(&live().0, after(9)).unwrap()]);
    add("goes on beyond its grace period", vec![Life::of(&live().0, after(40)).unwrap()]);
    add("without an end", vec![live().life()]);
    add("just created", vec![Life::of(&Script::new().plain(0.0, "Created").0, after(0)).unwrap()]);
    add("with its plan", vec![planned()]);
    add("five preStart", vec![five_pre_starts().life()]);
    add("a reason of 1000 letters", vec![long_reason().life()]);
    add("a long name", vec![example().named(&"a-very-long-container-name-".repeat(10)).life()]);
    add("not Latin", vec![long_reason().named("容器-контейнер-コンテナ-δοχείο-कंटेनर-🚢").life()]);
    add("hostile", vec![hostile()]);
    add("two hundred attempts", vec![many_attempts().life()]);
    add("seventy signals", vec![many_signals().life()]);
    add("a grace period without an end", vec![running().stop(1.0, u64::MAX).exit(2.0, 0).life()]);
    add("an hour of grace", vec![running().stop(1.0, 3600).begin(1.0, PreStop, "exec").exit(1800.0, 0).life()]);
    add("three containers", three().iter().map(Script::life).collect());
    add("two boots", two_boots());
    album
}

/// With what each handler does.
fn planned() -> Life {
    let entry = |hook, handler| Entry { handler, policy: Policy::default_of(hook), source: "Pod".into() };
    let exec = |command: &str| Handler::Exec { command: command.split(' ').map(str::to_owned).collect() };
    let mut plan = Plan::empty("web");
    plan.pre_start = vec![entry(PreStart, exec("/bin/migrate --database postgres://db:5432/app --wait 30 --verbose"))];
    plan.post_start = Some(entry(PostStart, exec("/bin/warm")));
    plan.pre_stop = Some(entry(PreStop, exec("/bin/drain --wait 20")));
    let mut life = example().life();
    life.describe(&plan);
    life
}

fn five_pre_starts() -> Script {
    let mut script = Script::new().plain(0.0, "Created");
    for entry in 0..5 {
        let from = 0.05 + entry as f64 * 0.7;
        script = script.begin_entry(from, PreStart, Some(entry), "exec", 1).end_entry(
            from + 0.6,
            PreStart,
            Some(entry),
            "Succeeded",
            "",
        );
    }
    script.plain(3.6, "EntrypointExecuted").plain(3.6, "Started").stop(6.0, 10).signal(6.0).exit(6.4, 143)
}

fn long_reason() -> Script {
    let reason = format!("PreStopHook failed: {}", "the reason goes on and on ".repeat(39));
    running().stop(2.0, 30).begin(2.0, PreStop, "exec").end(20.0, PreStop, "Failed", &reason).signal(20.0).exit(21.0, 0)
}

fn hostile() -> Life {
    let name = "</title><script>alert(1)</script>\u{202e}\u{1b}[31m\u{0}\u{fdfd}]]>&amp;\"'";
    let mut life = long_reason().named(name).life();
    for lane in life.lanes.iter_mut().filter(|lane| lane.hook.is_some()) {
        lane.summary = format!("exec {name}");
        lane.words += name;
    }
    life
}

fn many_attempts() -> Script {
    let mut script = running().stop(1.0, 600);
    for attempt in 1..=200 {
        let from = 1.0 + f64::from(attempt) * 2.0;
        script = script.begin_entry(from, PreStop, None, "tcpSocket", attempt).end(
            from + 1.2,
            PreStop,
            "Failed",
            "x: connection failed",
        );
    }
    script.signal(403.0).exit(404.0, 0)
}

fn many_signals() -> Script {
    let mut script = running();
    for number in 1..=70 {
        let at = f64::from(number) / 10.0;
        let signal = format!("SIG{number}");
        script = script.at(at, Notice { signal: Some(signal), ..Notice::normal("SignalSent", "") });
        script = script.at(at + 0.05, Notice { signal: Some("SIGHUP".into()), ..Notice::normal("SignalSent", "") });
    }
    script.exit(8.0, 129)
}

fn three() -> [Script; 3] {
    let late = Script(
        never_ends()
            .0
            .into_iter()
            .map(|record| Record { monotonic_ns: record.monotonic_ns + Duration::from_millis(700), ..record })
            .collect(),
    );
    [example(), late.named("sidecar"), five_pre_starts().named("metrics")]
}

fn two_boots() -> Vec<Life> {
    let mut other = example().named("after a reboot").life();
    other.boot_id = "another".into();
    other.origin = Instant(0);
    vec![example().life(), other]
}

/// As a page has them; with output that wants to be more than text.
fn stories(lives: &[Life]) -> Vec<Story> {
    let text = "2026-01-01T00:00:00.000000000Z stdout </pre><script>alert(1)</script>\u{1b}[2J\n".to_owned();
    let output = vec![Output { name: "preStop attempt 1".into(), text, cut: true }];
    let records = example().at(14.0, Notice::warning("<b>", "</td><script>alert(2)</script>")).0;
    let status = Status::of(&Plan::empty("web"));
    let story = |life: &Life| Story {
        life: life.clone(),
        records: records.clone(),
        plan: None,
        status: Some(status.clone()),
        output: output.clone(),
    };
    lives.iter().map(story).collect()
}

/// Where somebody can look at them: `target/timelines/`.
#[test]
fn the_album_is_written_to_be_looked_at() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/timelines");
    std::fs::create_dir_all(&dir).unwrap();
    for (name, lives) in album() {
        std::fs::write(dir.join(format!("{name}.svg")), svg(&lives)).unwrap();
        std::fs::write(dir.join(format!("{name}.html")), html(&stories(&lives))).unwrap();
    }
}

/// A text as the reader of the picture sees it.
#[derive(Debug)]
struct Text {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    words: String,
}

fn attribute(element: &BytesStart, name: &str) -> Option<String> {
    let found = element.try_get_attribute(name).unwrap()?;
    Some(found.unescape_value().unwrap().into_owned())
}

fn number(element: &BytesStart, name: &str) -> f64 {
    attribute(element, name).and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

/// Every text of a picture, and the picture's size. Panics where it is no well-formed XML.
fn texts(picture: &str) -> (Vec<Text>, f64, f64) {
    let mut reader = Reader::from_str(picture);
    reader.config_mut().check_end_names = true;
    let (mut texts, mut size, mut depth) = (Vec::new(), (0.0, 0.0), 0);
    let mut open: Option<(f64, f64, String, String)> = None;
    loop {
        match reader.read_event().unwrap() {
            Event::Eof => break,
            Event::Start(element) => {
                depth += 1;
                match element.name().as_ref() {
                    b"svg" => size = (number(&element, "width"), number(&element, "height")),
                    b"text" => {
                        let anchor = attribute(&element, "text-anchor").unwrap_or_default();
                        let class = attribute(&element, "class").unwrap();
                        open = Some((
                            number(&element, "x"),
                            number(&element, "y"),
                            format!("{anchor} {class}"),
                            String::new(),
                        ));
                    }
                    _ => {}
                }
            }
            Event::Text(text) => {
                if let Some((.., words)) = &mut open {
                    *words += &text.decode().unwrap();
                }
            }
            Event::GeneralRef(name) => {
                if let Some((.., words)) = &mut open {
                    let entity = ["lt <", "gt >", "amp &", "quot \""]
                        .into_iter()
                        .find_map(|entity| entity.split_once(' ').filter(|(known, _)| name[..] == *known.as_bytes()));
                    match name.resolve_char_ref().unwrap() {
                        Some(letter) => words.push(letter),
                        None => *words += entity.unwrap().1,
                    }
                }
            }
            Event::End(element) => {
                depth -= 1;
                if element.name().as_ref() == b"text" {
                    texts.push(placed(open.take().unwrap()));
                }
            }
            _ => {}
        }
    }
    assert_eq!(depth, 0);
    (texts, size.0, size.1)
}

fn placed((x, y, look, words): (f64, f64, String, String)) -> Text {
    let font = [NAME, LABEL, WORDS, SMALL].into_iter().find(|font| look.split(' ').any(|class| class == font.class));
    let font = font.unwrap_or_else(|| panic!("a text without a font: {look}"));
    let length = width(&words, font);
    let left = match look.split(' ').next() {
        Some("middle") => x - length / 2.0,
        Some("end") => x - length,
        _ => x,
    };
    // Most letters reach from a little below the line to three quarters of the size above it.
    Text { left, right: left + length, top: y - font.size * 0.78, bottom: y + font.size * 0.22, words }
}

/// Nothing runs, nothing is fetched, nothing hides: in a picture or a page.
fn assert_alone(name: &str, picture: &str) {
    let odd = picture.chars().find(|letter| (letter.is_control() && *letter != '\n') || *letter == '\u{202e}');
    assert_eq!(odd, None, "{name}");
    let mut reader = Reader::from_str(picture);
    loop {
        let element = match reader.read_event().unwrap() {
            Event::Eof => break,
            Event::Start(element) | Event::Empty(element) => element,
            _ => continue,
        };
        let tag = String::from_utf8(element.name().as_ref().to_vec()).unwrap();
        let known = "svg title desc style defs pattern path rect text g html head meta body h1 h2 h3 div table tr th td pre span";
        assert!(known.split(' ').any(|known| known == tag), "{name}: <{tag}>");
        for attribute in element.attributes() {
            let attribute = attribute.unwrap();
            let (key, value) = (attribute.key.as_ref().to_vec(), attribute.unescape_value().unwrap().into_owned());
            let key = String::from_utf8(key).unwrap();
            assert!(!key.starts_with("on") && !key.contains("href") && key != "src" && key != "style", "{name}: {key}");
            let outside =
                value.contains("://") && key != "xmlns" || value.contains("url(") && !value.starts_with("url(#");
            assert!(!outside, "{name}: {key}={value}");
        }
    }
    let style = &picture[picture.find("<style>").unwrap()..picture.rfind("</style>").unwrap()];
    assert!(!style.contains("url(") && !style.contains("@import"), "{name}");
}

/// No two texts touch, and all are inside of the picture.
fn assert_room(name: &str, picture: &str) {
    let (texts, wide, high) = texts(picture);
    for text in &texts {
        let inside = text.left >= 4.0 && text.right <= wide - 4.0 && text.top >= 4.0 && text.bottom <= high - 4.0;
        assert!(inside, "{name}: {text:?} is outside of {wide} x {high}");
    }
    for (at, one) in texts.iter().enumerate() {
        for other in &texts[at + 1..] {
            let apart = one.right <= other.left
                || other.right <= one.left
                || one.bottom <= other.top
                || other.bottom <= one.top;
            assert!(apart, "{name}: {one:?} and {other:?} collide");
        }
    }
}

#[test]
fn no_two_texts_of_a_picture_collide_and_none_leaves_it() {
    for (name, lives) in album() {
        assert_room(&name, &svg(&lives));
    }
}

#[test]
fn pictures_and_pages_stand_alone_and_are_well_formed() {
    for (name, lives) in album() {
        assert_alone(&name, &svg(&lives));
        assert_alone(&name, &html(&stories(&lives)));
    }
}

#[test]
fn a_picture_has_colours_for_light_and_dark_and_for_everything_in_it() {
    let picture = svg(&three().map(|script| script.life()));
    let (style, body) = picture.split_once("</style>").unwrap();
    let (light, dark) = style.split_once("@media screen and (prefers-color-scheme:dark){").unwrap();
    for class in body.split("class=\"").skip(1).flat_map(|rest| rest.split_once('"').unwrap().0.split(' ')) {
        assert!(light.contains(&format!(".bookend-life .{class}{{")), "{class}");
    }
    let coloured = |rules: &str| rules.lines().filter(|rule| rule.contains('#')).count();
    assert_eq!(coloured(light), coloured(dark));
    assert!(coloured(dark) > 20);
}

/// The drawing alone, without its colours and words.
fn outline(ending: &str, message: &str) -> Vec<String> {
    let script = running().stop(1.0, 30).begin(1.0, PreStop, "exec").end(9.0, PreStop, ending, message);
    let picture = svg(&[script.signal(9.0).exit(10.0, 0).life()]);
    let (_, body) = picture.split_once("<title>preStop").unwrap();
    let lane = body.split_once("</g>").unwrap().0;
    let d = |line: &str| {
        line.contains("class=\"bar")
            .then(|| line.split("class").next().unwrap().to_owned() + line.split(" d=").nth(1).unwrap_or(""))
    };
    let icon = |line: &str| line.contains("class=\"icon").then(|| line.split(" d=").nth(1).unwrap().to_owned());
    let wall = |line: &str| line.contains("class=\"wall").then(|| "wall".to_owned());
    lane.lines().filter_map(|line| d(line).or_else(|| icon(line)).or_else(|| wall(line))).collect()
}

#[test]
fn the_ends_of_a_hook_differ_in_shape_and_not_only_in_colour() {
    let ends = [
        outline("Succeeded", ""),
        outline("Failed", "x: exit code 1"),
        outline("TimedOut", "x: timed out after 8s"),
        outline("Interrupted", "x: container exited"),
    ];
    for (at, one) in ends.iter().enumerate() {
        assert!(one.len() >= 2, "{one:?}");
        ends[at + 1..].iter().for_each(|other| assert_ne!(one, other));
    }
}

#[test]
fn what_is_cut_in_the_picture_is_whole_in_its_tooltip_and_description() {
    let picture = svg(&[long_reason().life()]);
    let whole = "the reason goes on and on ".repeat(39);
    let tooltips =
        picture.split("<title>").filter(|part| part.split("</title>").next().unwrap().contains(whole.trim_end()));
    assert!(tooltips.count() >= 2);
    let desc = picture.split_once("<desc>").unwrap().1.split_once("</desc>").unwrap().0;
    assert!(desc.contains(whole.trim_end()) && desc.contains("grace 30s at 2.000"), "{desc}");
    let (texts, ..) = texts(&picture);
    assert!(texts.iter().any(|text| text.words.ends_with('…')));
}

#[test]
fn a_picture_says_what_happened_in_words() {
    let words = |lives: &[Life]| texts(&svg(lives)).0.into_iter().map(|text| text.words).collect::<Vec<_>>();
    let said = words(&[planned()]);
    for expected in [
        "web",
        "entrypoint exit 0 · every hook succeeded",
        "2026-01-01 00:00:00 UTC · 13.2s",
        "2.40s 200",
        "exec /bin/drain --wait 20",
        "stop requested: SIGTERM",
        "SIGTERM sent",
        "ends at 39.0s",
        "grace 30s",
        "12s",
    ] {
        assert!(said.iter().any(|text| text == expected), "{expected:?} in {said:#?}");
    }
    let said = words(&[Life::of(&live().0, after(9)).unwrap()]);
    assert!(
        said.iter().any(|text| text == "ends at 34.0s, 25.0s left") && said.iter().any(|text| text == "now: 9.00s")
    );
    let said = words(&three().map(|script| script.life()));
    for name in ["web", "sidecar", "metrics"] {
        assert_eq!(said.iter().filter(|text| *text == name).count(), 1);
    }
    assert!(said.iter().any(|text| text == "ends at 32.0s, exceeded by 2.01s"), "{said:#?}");
}

#[test]
fn a_page_shows_hooks_output_and_events_as_text() {
    let page = html(&stories(&[planned()]));
    assert!(page.contains("&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;\\u{1b}[2J"), "{page}");
    assert!(page.contains("&lt;/td&gt;&lt;script&gt;alert(2)") && page.contains("(the end of it)"), "{page}");
}

#[test]
fn nothing_to_draw_is_an_empty_picture() {
    assert_alone("nothing", &svg(&[]));
    assert_alone("nothing", &html(&[]));
}

mod any_life {
    use proptest::prelude::*;

    use super::*;
    use crate::lifecycle::step::tests::properties::any_told_life;

    fn life(plan: &Plan, told: &[(Instant, Notice)], now: Option<Instant>) -> Option<Life> {
        let record = |(at, notice): &(Instant, Notice)| Record {
            time: "2026-01-01T00:00:00.000000000Z".into(),
            monotonic_ns: *at,
            boot_id: "boot".into(),
            container: "web".into(),
            notice: notice.clone(),
        };
        let mut life = Life::of(&told.iter().map(record).collect::<Vec<_>>(), now)?;
        life.describe(plan);
        Some(life)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn is_drawn_without_collision(one in any_told_life(), other in any_told_life(), later in proptest::option::of(0..100_000_u64)) {
            let now = |told: &[(Instant, Notice)]| {
                later.zip(told.last()).map(|(millis, last)| last.0 + Duration::from_millis(millis))
            };
            let lives: Vec<Life> =
                [&one, &other].into_iter().filter_map(|(plan, told)| life(plan, told, now(told))).collect();
            for count in 1..=lives.len() {
                let picture = svg(&lives[..count]);
                assert_room("any", &picture);
                assert_alone("any", &picture);
            }
        }
    }
}
