//! Colours in light and dark, and the style sheet that they make.

/// Selector, property, and its colour in light and in dark.
const COLOURS: [(&str, &str, &str, &str); 26] = [
    (".card", "fill", "#ffffff", "#0d1117"),
    (".card", "stroke", "#d1d9e0", "#30363d"),
    ("text", "fill", "#1f2328", "#e6edf3"),
    (".muted", "fill", "#59636e", "#9198a1"),
    (".halo", "stroke", "#ffffff", "#0d1117"),
    (".grid", "stroke", "#e4e8ec", "#21262d"),
    (".rule", "stroke", "#b6bfc8", "#3d444d"),
    (".plain", "fill", "#e6eaef", "#262c36"),
    (".plain", "stroke", "#59636e", "#9198a1"),
    (".good", "fill", "#d2f4dc", "#12331d"),
    (".good", "stroke", "#1a7f37", "#3fb950"),
    (".warning", "fill", "#fff1c2", "#3a2a06"),
    (".warning", "stroke", "#9a6700", "#d29922"),
    (".bad", "fill", "#ffdcd7", "#4a1618"),
    (".bad", "stroke", "#cf222e", "#f85149"),
    (".open", "fill", "#d6ecff", "#0c2d57"),
    (".open", "stroke", "#0969da", "#4493f8"),
    (".band", "fill", "#eaf3fd", "#101f33"),
    (".edge", "stroke", "#54a3f5", "#316dca"),
    (".late", "fill", "#fff0ee", "#2a1215"),
    (".hatch", "stroke", "#cf222e", "#f85149"),
    (".mark", "fill", "#0969da", "#4493f8"),
    (".kill", "fill", "#cf222e", "#f85149"),
    (".guide", "stroke", "#57606a", "#768390"),
    (".bracket", "stroke", "#54a3f5", "#316dca"),
    (".slash", "stroke", "#57606a", "#768390"),
];

const SHAPES: &str = "\
text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue','Noto Sans',Arial,sans-serif}
.name{font-size:17px;font-weight:600}
.label{font-size:13px;font-weight:600}
.words{font-size:12.5px}
.small{font-size:11px}
.halo{paint-order:stroke;stroke-width:4px;stroke-linejoin:round}
.bar{stroke-width:1.2}
.wall{stroke-width:2.6}
.icon{fill:none;stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round}
.grid,.rule{stroke-width:1}
.guide{stroke-width:1;stroke-dasharray:2 3}
.edge{stroke-width:1.2;stroke-dasharray:4 3}
.hatch{stroke-width:1.6}
.bracket{stroke-width:1.4;fill:none}
.slash{stroke-width:1.2;fill:none}
.pause{fill:none;stroke-width:1.5;stroke-dasharray:1.5 3.5;stroke-linecap:round}
";

/// The style sheet. Every rule is for the picture alone, so that a page may hold it. Paper is always light.
pub fn sheet() -> String {
    let scoped = |rules: &str| rules.lines().map(scope).collect::<String>();
    let rule = |(selector, property, colour): (&str, &str, &str)| format!("{selector}{{{property}:{colour}}}\n");
    let light: String = COLOURS.iter().map(|(of, what, light, _)| rule((of, what, light))).collect();
    let dark: String = COLOURS.iter().map(|(of, what, _, dark)| rule((of, what, dark))).collect();
    format!(
        "{}{}@media screen and (prefers-color-scheme:dark){{\n{}}}\n",
        scoped(SHAPES),
        scoped(&light),
        scoped(&dark)
    )
}

fn scope(rule: &str) -> String {
    let (selectors, body) = rule.split_once('{').unwrap_or((rule, ""));
    let selectors: Vec<String> = selectors.split(',').map(|one| format!(".bookend-life {one}")).collect();
    format!("{}{{{body}\n", selectors.join(","))
}
