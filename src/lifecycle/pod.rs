//! Pods, and what has a Pod's template in it: the hooks of one of their containers, and what `test` runs of it.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::annotations::{self, Annotation, PREFIX};
use super::file;
use super::model::Hook;
use super::rule::Rule;
use super::tree::{Mark, Node, Value, integer, nearest};
use super::validate::{self, Problems, Wishes, strings};
use crate::foreign::{self, quote};

/// A container that was found in a file.
#[derive(Clone, Debug)]
pub struct Chosen {
    pub name: String,
    /// The file, as messages show it.
    file: String,
    /// `spec.containers[0]`, `spec.template.spec.containers[0]`; empty for a lifecycle file.
    pub path: String,
    pub container: Node,
    pub role: Role,
    /// The Pod's spec, for what all containers share.
    pub spec: Arc<Node>,
    pub metadata: Option<Arc<Node>>,
}

/// What a container is in its Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// An entry of `initContainers`: it runs to its end before the next is started, and has no hooks.
    Init,
    /// One of them with `restartPolicy: Always`: it lives on beside the others, and is stopped after them.
    Sidecar,
    Main,
}

/// All containers of one Pod, in the order in which they are started.
#[derive(Clone, Debug)]
pub struct Pod {
    /// `metadata.name` of the document.
    pub name: Option<String>,
    pub containers: Vec<Chosen>,
}

/// What `test` needs of a Pod's container (lifecycle hooks aside). `$(VAR)` is expanded already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodContainer {
    pub name: String,
    pub image: Option<String>,
    /// None: the image's ENTRYPOINT.
    pub command: Option<Vec<String>>,
    /// None: the image's CMD, unless there is a command.
    pub args: Option<Vec<String>>,
    pub env: Vec<(String, String)>,
    pub working_dir: Option<String>,
    pub run_as_user: Option<u32>,
    pub run_as_group: Option<u32>,
    pub supplemental_groups: Vec<u32>,
    pub read_only_root_filesystem: bool,
}

/// A Pod's spec in a document, and the metadata that belongs to it.
#[derive(Clone, Copy)]
pub struct Template<'a> {
    pub name: Option<&'a str>,
    pub path: &'static str,
    pub spec: &'a Node,
    pub metadata: Option<&'a Node>,
}

/// The Pod's spec of a document: its own, a workload's template's or a CronJob's.
pub fn template(document: &Node) -> Option<Template<'_>> {
    let spec = document.get("spec")?;
    let name = document.get("metadata").and_then(|metadata| metadata.get("name")?.text());
    if let Some(template) = spec.get("jobTemplate").and_then(|job| job.get("spec")?.get("template")) {
        let path = "spec.jobTemplate.spec.template.spec";
        return Some(Template { name, path, spec: template.get("spec")?, metadata: template.get("metadata") });
    }
    if let Some(template) = spec.get("template")
        && let Some(inner) = template.get("spec")
    {
        return Some(Template { name, path: "spec.template.spec", spec: inner, metadata: template.get("metadata") });
    }
    let is_pod = spec.get("containers").is_some() || document.get("kind").and_then(Node::text) == Some("Pod");
    is_pod.then(|| Template { name, path: "spec", spec, metadata: document.get("metadata") })
}

/// The objects of a document: `kubectl get -o yaml` wraps several in a List.
pub fn items(document: &Node) -> &[Node] {
    match document.get("items").and_then(Node::list) {
        Some(items) if document.get("spec").is_none() => items,
        _ => std::slice::from_ref(document),
    }
}

/// Finds the container NAME in a file, or the only one there is.
pub fn find(path: &Path, name: Option<&str>, problems: &mut Problems) -> Option<Chosen> {
    let label = file::label(path);
    let documents = file::documents(path, problems)?;
    let mut found = Vec::new();
    let mut init_names = Vec::new();
    for template in &templates(&documents, &label, problems)? {
        found.extend(listed(template, "containers", &label, problems));
        let inits = template.spec.get("initContainers").and_then(Node::list).unwrap_or_default();
        init_names.extend(inits.iter().filter_map(|node| node.get("name")?.text()));
    }
    choose(found, name, &init_names, &label, problems)
}

/// Every Pod of a file with all of its containers, in the order of the file.
pub fn all(path: &Path, problems: &mut Problems) -> Vec<Pod> {
    let label = file::label(path);
    let Some(documents) = file::documents(path, problems) else { return Vec::new() };
    if let [root] = documents.as_slice()
        && is_lifecycle(root)
    {
        let chosen = Chosen::of_lifecycle(path, root);
        return vec![Pod { name: None, containers: vec![chosen] }];
    }
    let templates = templates(&documents, &label, problems).unwrap_or_default();
    let pod = |template: Template| {
        let mut containers = listed(&template, "initContainers", &label, problems);
        containers.iter().for_each(|init| init.refuse_hooks(problems));
        containers.extend(listed(&template, "containers", &label, problems));
        Pod { name: template.name.map(str::to_owned), containers }
    };
    templates.into_iter().map(pod).collect()
}

/// Whether a document has the shape of lifecycle.md section 2 and is no Kubernetes object.
fn is_lifecycle(root: &Node) -> bool {
    let has = |field: &str| root.get(field).is_some();
    !has("kind") && !has("spec") && (has("lifecycle") || has("extensions"))
}

/// The Pods of a file; that there is none is a problem.
fn templates<'a>(documents: &'a [Node], label: &str, problems: &mut Problems) -> Option<Vec<Template<'a>>> {
    let templates: Vec<Template> = documents.iter().flat_map(items).filter_map(template).collect();
    if templates.is_empty() {
        let bare = ["lifecycle", "extensions"].iter().any(|field| documents.iter().any(|d| d.get(field).is_some()));
        let hint = if bare { "; for a file of hooks alone use --lifecycle" } else { "" };
        problems.error(None, label, format_args!("Invalid value: no Pod and nothing with .spec.template.spec{hint}"));
        return None;
    }
    Some(templates)
}

/// The containers that a Pod lists under `field`: `containers`, which it must have, `initContainers` or `ephemeralContainers`.
pub fn listed(template: &Template, field: &str, label: &str, problems: &mut Problems) -> Vec<Chosen> {
    let path = format!("{}.{field}", template.path);
    let mut found = Vec::new();
    let nodes = match template.spec.get(field).map(|node| (node, node.list())) {
        None if field != "containers" => return found,
        Some((_, Some([]))) if field != "containers" => return found,
        None => {
            problems.error(template.spec.at, &path, "Required value").is(Rule::NoContainers);
            return found;
        }
        Some((node, Some([]))) => {
            problems.error(node.at, &path, "Required value").is(Rule::NoContainers);
            return found;
        }
        Some((_, Some(nodes))) => nodes,
        Some((node, None)) => {
            problems.invalid(node.at, &path, &node.shown(), "must be a list").is(Rule::NoContainers);
            return found;
        }
    };
    let (spec, metadata) = (Arc::new(template.spec.clone()), template.metadata.cloned().map(Arc::new));
    for (index, node) in nodes.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let name = match (&node.value, node.get("name").map(|name| (name, name.text()))) {
            (Value::Map(_), Some((_, Some(name)))) if !name.is_empty() => name.to_owned(),
            (Value::Map(_), None | Some((_, Some(_)))) => {
                problems.error(node.at, &format!("{path}.name"), "Required value").is(Rule::NoContainers);
                continue;
            }
            (Value::Map(_), Some((name, None))) => {
                problems.invalid(name.at, &format!("{path}.name"), &name.shown(), "must be a string");
                continue;
            }
            _ => {
                problems.invalid(node.at, &path, &node.shown(), "must be an object");
                continue;
            }
        };
        let always = node.get("restartPolicy").and_then(Node::text) == Some("Always");
        let role = match (field, always) {
            ("initContainers", true) => Role::Sidecar,
            ("initContainers", false) => Role::Init,
            _ => Role::Main,
        };
        found.push(Chosen {
            name,
            role,
            file: label.to_owned(),
            path,
            container: node.clone(),
            spec: spec.clone(),
            metadata: metadata.clone(),
        });
    }
    found
}

fn choose(
    mut found: Vec<Chosen>,
    name: Option<&str>,
    init_names: &[&str],
    label: &str,
    problems: &mut Problems,
) -> Option<Chosen> {
    let names = || found.iter().map(|chosen| quote(&chosen.name)).collect::<Vec<_>>().join(", ");
    let Some(name) = name else {
        if found.len() > 1 {
            let why = format!("Required value: {label} has the containers {}", names());
            problems.error(None, "--container", why);
            return None;
        }
        return found.pop();
    };
    match found.iter().filter(|chosen| chosen.name == name).count() {
        1 => found.into_iter().find(|chosen| chosen.name == name),
        0 if found.is_empty() => None,
        0 => {
            let init = if init_names.contains(&name) { " (that one is an init container)" } else { "" };
            let why = format!("Not found: {}{init}; {label} has the containers {}", quote(name), names());
            problems.error(None, "--container", why);
            None
        }
        _ => {
            let why = format!("Duplicate value: {}: {label} has it more than once: {}", quote(name), names());
            problems.error(None, "--container", why);
            None
        }
    }
}

/// The fields of a container (Kubernetes 1.35). What is none of these and near to one of ours is misspelt (V-22); what else
/// is unknown is Kubernetes' affair.
const CONTAINER_FIELDS: [&str; 26] = [
    "args",
    "command",
    "env",
    "envFrom",
    "image",
    "imagePullPolicy",
    "lifecycle",
    "livenessProbe",
    "name",
    "ports",
    "readinessProbe",
    "resizePolicy",
    "resources",
    "restartPolicy",
    "restartPolicyRules",
    "securityContext",
    "startupProbe",
    "stdin",
    "stdinOnce",
    "targetContainerName",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tty",
    "volumeDevices",
    "volumeMounts",
    "workingDir",
];

/// What a field that is not known was probably meant to be. `here` are ours that belong at this place, and `elsewhere` those
/// that belong at another, which it says.
fn meant(name: &str, here: &[&str], elsewhere: &[(&str, &str)]) -> Option<String> {
    let candidates = here.iter().copied().chain(elsewhere.iter().map(|(field, _)| *field));
    let near = nearest(name, candidates)?;
    Some(match elsewhere.iter().find(|(field, _)| *field == near) {
        Some((_, place)) => format!("{near} belongs {place}"),
        None => format!("did you mean {}?", quote(near)),
    })
}

impl Chosen {
    /// The file that it was found in, as messages show it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Where the hook was written: its key in the stanza, or its annotation; else where the container begins.
    pub fn place_of(&self, hook: Hook) -> Mark {
        let stanza = ["lifecycle", "extensions"].iter().find_map(|part| self.container.get(part)?.key(hook.name()));
        let word = hook.name().replace("Sta", "-sta").replace("Sto", "-sto");
        let annotation = || {
            let values = self.annotations(&mut Problems::default());
            let own = |key: &str| key.split_once('/').is_some_and(|(_, rest)| rest.split('.').next() == Some(&word));
            values.into_iter().find(|(key, ..)| own(key)).map(|(_, _, at)| at)
        };
        stanza.or_else(annotation).unwrap_or(self.container.at)
    }

    /// Where the container begins.
    pub fn place(&self) -> Mark {
        self.container.at
    }

    /// Kubernetes' own words.
    fn refuse_hooks(&self, problems: &mut Problems) {
        if let (Role::Init, Some(at)) = (self.role, self.container.key("lifecycle")) {
            let why = "Forbidden: may not be set for init containers without restartPolicy=Always";
            problems.error(at, &format!("{}.lifecycle", self.path), why).is(Rule::InitHook);
        }
    }

    /// The hooks of a lifecycle file, as those of a container of which it says nothing else.
    fn of_lifecycle(path: &Path, root: &Node) -> Chosen {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| *stem != "-");
        Chosen {
            name: stem.unwrap_or("container").to_owned(),
            file: file::label(path),
            path: String::new(),
            container: root.clone(),
            role: Role::Main,
            spec: Arc::new(root.clone()),
            metadata: None,
        }
    }

    fn is_of_lifecycle(&self) -> bool {
        self.path.is_empty()
    }

    /// The hooks of the container, by stanza and by annotation.
    pub fn wishes(&self, problems: &mut Problems) -> Wishes {
        if self.is_of_lifecycle() {
            return validate::shape(&self.container, &self.file, problems);
        }
        let mut wishes = Wishes::default();
        self.misspelt(problems);
        wishes.grace = self.spec.get("terminationGracePeriodSeconds").and_then(|node| validate::grace(node, problems));
        let ports = self.container.get("ports").map(|node| validate::ports(node, problems)).unwrap_or_default();
        if let Some(node) = self.container.get("lifecycle") {
            let place = format!("{}.lifecycle", self.path);
            validate::lifecycle(node, &ports, &self.file, &place, &mut wishes, problems);
        }
        let values = self.annotations(problems);
        let annotations = values.iter().map(|(key, value, at)| Annotation { key, value, at: Some(*at) });
        let annotated = annotations::read(annotations, Some(&self.name), Some(&self.file), problems);
        wishes.join(annotated, problems);
        wishes
    }

    fn misspelt(&self, problems: &mut Problems) {
        const UNDER: &str = "under \"lifecycle\"";
        let elsewhere = [
            ("postStart", UNDER),
            ("preStop", UNDER),
            ("stopSignal", UNDER),
            ("terminationGracePeriodSeconds", "to the Pod's spec"),
        ];
        let known = |name: &str| CONTAINER_FIELDS.contains(&name);
        unknown(&self.container, &self.path, known, &["lifecycle", "ports"], &elsewhere, problems);

        const IN: &str = "to a container";
        let elsewhere = [("lifecycle", IN), ("postStart", IN), ("preStop", IN)];
        let path = self.path.rsplit_once('.').map_or("", |(spec, _)| spec);
        let ours = ["terminationGracePeriodSeconds"];
        unknown(&self.spec, path, |name| ours.contains(&name), &ours, &elsewhere, problems);
    }

    /// The annotations under our prefix.
    fn annotations(&self, problems: &mut Problems) -> Vec<(String, String, Mark)> {
        let Some(Value::Map(fields)) =
            self.metadata.as_ref().and_then(|node| node.get("annotations")).map(|node| &node.value)
        else {
            return Vec::new();
        };
        let mut annotations = Vec::new();
        for (key, at, node) in fields {
            let prefix = key.split_once('/').map(|(prefix, _)| prefix);
            if !prefix.is_some_and(|prefix| prefix == PREFIX || prefix.ends_with(&format!(".{PREFIX}"))) {
                continue;
            }
            match node.text() {
                Some(text) => annotations.push((key.clone(), text.to_owned(), node.at)),
                None => {
                    problems.invalid(*at, key, &node.shown(), "must be a string; put it in quotes");
                }
            }
        }
        annotations
    }

    /// What `test` runs. Call it only when the container is really to be made from the Pod: `valueFrom` is an error here.
    pub fn container(&self, problems: &mut Problems) -> PodContainer {
        let node = &self.container;
        let text = |name: &str, problems: &mut Problems| {
            let node = node.get(name)?;
            if node.text().is_none() {
                problems.invalid(node.at, &format!("{}.{name}", self.path), &node.shown(), "must be a string");
            }
            node.text().filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let env = self.env(problems);
        let words = |name: &str, problems: &mut Problems| {
            let words = strings(node.get(name)?, &format!("{}.{name}", self.path), problems)?;
            let words: Vec<String> = words.iter().map(|word| expand(word, &env)).collect();
            if words.iter().any(|word| word.contains('\0')) {
                problems.error(node.at, &format!("{}.{name}", self.path), "Invalid value: must not contain a NUL byte");
            }
            Some(words).filter(|words| !words.is_empty())
        };
        let command = words("command", problems);
        let args = words("args", problems);
        PodContainer {
            name: self.name.clone(),
            image: text("image", problems),
            command,
            args,
            working_dir: text("workingDir", problems),
            run_as_user: self.user("runAsUser", problems),
            run_as_group: self.user("runAsGroup", problems),
            supplemental_groups: self.groups(problems),
            read_only_root_filesystem: node
                .get("securityContext")
                .and_then(|context| context.get("readOnlyRootFilesystem")?.bool())
                .unwrap_or(false),
            env,
        }
    }

    /// Literal variables, each expanded by those before it, as the kubelet does.
    fn env(&self, problems: &mut Problems) -> Vec<(String, String)> {
        let path = format!("{}.env", self.path);
        if let Some(node) = self.container.get("envFrom").filter(|node| node.list() != Some(&[])) {
            let why = "Forbidden: a ConfigMap or Secret cannot be read without a cluster; give the variables by env";
            problems.error(node.at, &format!("{}.envFrom", self.path), why);
        }
        let mut env: Vec<(String, String)> = Vec::new();
        let Some(node) = self.container.get("env") else { return env };
        let Some(nodes) = node.list() else {
            problems.invalid(node.at, &path, &node.shown(), "must be a list");
            return env;
        };
        for (index, node) in nodes.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(name) = node.get("name").and_then(Node::text).filter(|name| !name.is_empty()) else {
                problems.error(node.at, &format!("{path}.name"), "Required value");
                continue;
            };
            if name.contains(['=', '\0']) {
                problems.invalid(node.at, &format!("{path}.name"), &quote(name), "must not contain '=' or a NUL byte");
                continue;
            }
            if let Some(from) = node.get("valueFrom") {
                let why = format!("Forbidden: {} needs a cluster; give it a literal value", quote(name));
                problems.error(from.at, &format!("{path}.valueFrom"), why);
                continue;
            }
            let value = match node.get("value").map(|node| (node, node.text())) {
                None => String::new(),
                Some((_, Some(text))) if !text.contains('\0') => expand(text, &env),
                Some((node, Some(_))) => {
                    problems.error(node.at, &format!("{path}.value"), "Invalid value: must not contain a NUL byte");
                    continue;
                }
                Some((node, None)) => {
                    let why = "must be a string; put it in quotes";
                    problems.invalid(node.at, &format!("{path}.value"), &node.shown(), why);
                    continue;
                }
            };
            // The last of several of one name is what a process sees.
            env.retain(|(known, _)| known != name);
            env.push((name.to_owned(), value));
        }
        env
    }

    /// A field of the container's security context, else of the Pod's.
    fn security<'a>(&'a self, field: &str) -> Option<(&'a Node, String)> {
        let spec = self.path.rsplit_once('.').map_or("", |(spec, _)| spec);
        [(&self.container, self.path.as_str()), (&self.spec, spec)].into_iter().find_map(|(node, path)| {
            Some((node.get("securityContext")?.get(field)?, format!("{path}.securityContext.{field}")))
        })
    }

    fn user(&self, field: &str, problems: &mut Problems) -> Option<u32> {
        let (node, path) = self.security(field)?;
        id(node, &path, problems)
    }

    fn groups(&self, problems: &mut Problems) -> Vec<u32> {
        let Some(node) = self.spec.get("securityContext").and_then(|context| context.get("supplementalGroups")) else {
            return Vec::new();
        };
        let spec = self.path.rsplit_once('.').map_or("", |(spec, _)| spec);
        let path = format!("{spec}.securityContext.supplementalGroups");
        let nodes = node.list().unwrap_or_default().iter().enumerate();
        nodes.filter_map(|(index, node)| id(node, &format!("{path}[{index}]"), problems)).collect()
    }
}

/// Tells the fields of an object that are not known and near to one of ours.
fn unknown(
    node: &Node,
    path: &str,
    known: impl Fn(&str) -> bool,
    here: &[&str],
    elsewhere: &[(&str, &str)],
    problems: &mut Problems,
) {
    let Value::Map(fields) = &node.value else { return };
    // An object with more fields is none of Kubernetes'.
    for (name, at, _) in fields.iter().take(1000).filter(|(name, ..)| !known(name)) {
        if let Some(hint) = meant(name, here, elsewhere) {
            let field = format!("{path}.{}", foreign::name(name));
            problems.error(*at, &field, format_args!("Unknown field; {hint}")).is(Rule::UnknownKey);
        }
    }
}

/// A user or group id in Kubernetes' range.
fn id(node: &Node, path: &str, problems: &mut Problems) -> Option<u32> {
    let number = match &node.value {
        Value::Number(text) => integer(text),
        _ => None,
    };
    let id = number.filter(|id| (0..=i64::from(i32::MAX)).contains(id)).and_then(|id| u32::try_from(id).ok());
    if id.is_none() {
        problems.invalid(node.at, path, &node.shown(), "must be between 0 and 2147483647, inclusive");
    }
    id
}

/// Kubernetes' `$(VAR)`: `$$` is a dollar sign, and a reference to what is not there stays as it is.
pub fn expand(text: &str, env: &[(String, String)]) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(index) = rest.find('$') {
        expanded.push_str(&rest[..index]);
        let tail = &rest[index + 1..];
        if let Some(after) = tail.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = tail.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match env.iter().find(|(known, _)| known == name) {
                Some((_, value)) => expanded.push_str(value),
                None => expanded.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            expanded.push('$');
            rest = tail;
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::lifecycle::model::{Handler, Hook, Plan};
    use crate::lifecycle::source::fixture::{from_pod, nothing, problems};
    use crate::lifecycle::source::{Resolved, Sources, resolve};

    const HOOKS_POD: &str = include_str!("../../testdata/hooks-pod.yaml");
    const DEPLOYMENT: &str = include_str!("../../testdata/pods/deployment.yaml");
    const CRONJOB: &str = include_str!("../../testdata/pods/cronjob.json");
    const CONTAINER: &str = include_str!("../../testdata/pods/test-container.yaml");

    fn exec(words: &[&str]) -> Handler {
        Handler::Exec { command: words.iter().map(|word| word.to_string()).collect() }
    }

    fn plan(text: &str, container: Option<&str>) -> Plan {
        from_pod(text, container).unwrap().plan
    }

    #[test]
    fn the_tutorials_pod_has_its_two_hooks() {
        let plan = plan(HOOKS_POD, None);
        assert_eq!((plan.container.as_str(), plan.grace_seconds), ("hooks-pod", 30));
        let start = plan.post_start.unwrap();
        assert_eq!(start.handler, exec(&["/bin/sh", "-c", "echo Hello postStart! > /var/tmp/hello.txt"]));
        assert!(start.source.ends_with("pod.yaml: spec.containers[0].lifecycle.postStart"), "{}", start.source);
        assert_eq!(plan.pre_stop.unwrap().handler, exec(&["/bin/sh", "-c", "sleep 10"]));
    }

    #[test]
    fn a_workloads_template_gives_its_spec_and_its_annotations() {
        let plan = plan(DEPLOYMENT, Some("web"));
        assert_eq!((plan.container.as_str(), plan.grace_seconds), ("web", 45));
        assert_eq!(plan.stop_signal.to_string(), "SIGQUIT");
        assert_eq!(plan.pre_start[0].handler, exec(&["/bin/migrate", "--now"]));
        assert!(plan.pre_start[0].source.ends_with("pod.yaml: annotation bookend/pre-start"));
        assert_eq!(plan.pre_stop.as_ref().unwrap().policy.timeout.unwrap().as_secs(), 20);
        let Handler::HttpGet(get) = &plan.post_start.as_ref().unwrap().handler else { panic!("no httpGet") };
        assert_eq!(get.port, 8080);
        assert!(plan.post_stop.is_empty());
        assert_eq!(self::plan(DEPLOYMENT, Some("sidecar")).post_stop[0].handler, exec(&["/bin/collect"]));
    }

    #[test]
    fn a_cron_jobs_inner_template_is_found_in_json() {
        let Resolved { plan, warnings, .. } = from_pod(CRONJOB, None).unwrap();
        assert_eq!(plan.post_stop[0].handler, exec(&["/bin/sh", "-c", "echo \"$BOOKEND_EXIT_CODE\" > /out"]));
        assert_eq!(plan.grace_seconds, 0);
        assert_eq!(warnings, ["terminationGracePeriodSeconds: 0: preStop will be skipped"]);
    }

    #[test]
    fn a_list_of_pods_is_looked_through() {
        let indented = HOOKS_POD.replace('\n', "\n  ");
        let list = format!("kind: List\nitems:\n- {indented}\n");
        assert!(plan(&list, None).has_hooks());
    }

    #[test]
    fn which_container_is_meant_must_be_clear() {
        assert_eq!(
            problems(from_pod(DEPLOYMENT, None)),
            ["--container: Required value: pod.yaml has the containers \"web\", \"sidecar\""]
        );
        assert_eq!(
            problems(from_pod(DEPLOYMENT, Some("wbe"))),
            ["--container: Not found: \"wbe\"; pod.yaml has the containers \"web\", \"sidecar\""]
        );
        assert_eq!(
            problems(from_pod(DEPLOYMENT, Some("setup"))),
            [
                "--container: Not found: \"setup\" (that one is an init container); pod.yaml has the containers \"web\", \
              \"sidecar\""
            ]
        );
        let twice = format!("{HOOKS_POD}---\n{HOOKS_POD}");
        assert_eq!(
            problems(from_pod(&twice, Some("hooks-pod"))),
            [
                "--container: Duplicate value: \"hooks-pod\": pod.yaml has it more than once: \"hooks-pod\", \"hooks-pod\""
            ]
        );
    }

    #[test]
    fn a_file_without_a_pod_says_so() {
        let bare = "pod.yaml: Invalid value: no Pod and nothing with .spec.template.spec";
        assert_eq!(problems(from_pod("kind: Service\nspec: {ports: []}", None)), [bare]);
        assert_eq!(problems(from_pod("", None)), [bare]);
        assert_eq!(
            problems(from_pod("lifecycle: {}", None)),
            [format!("{bare}; for a file of hooks alone use --lifecycle")]
        );
        assert_eq!(problems(from_pod("kind: Pod\nspec: {}", None)), ["spec.containers: Required value"]);
        assert_eq!(
            problems(from_pod("kind: Pod\nspec: {containers: [{image: x}]}", None)),
            ["spec.containers[0].name: Required value"]
        );
    }

    #[test]
    fn the_same_hook_by_stanza_and_by_annotation_is_an_error_that_names_both() {
        let text = HOOKS_POD.replace("  name: hooks-pod\nspec", "  annotations: {bookend/pre-stop.sleep: '5'}\nspec");
        assert_eq!(
            problems(from_pod(&text, None)),
            [
                "bookend/pre-stop.sleep: Forbidden: preStop is given by pod.yaml: spec.containers[0].lifecycle.preStop too"
            ]
        );
    }

    #[test]
    fn v_22_a_misspelt_stanza_of_a_container_is_refused() {
        assert_eq!(
            problems(from_pod(
                "kind: Pod\nspec: {terminationGracePeriodSecond: 3, containers: [{name: a, lifecyle: {}}]}",
                None
            )),
            [
                "spec.containers[0].lifecyle: Unknown field; did you mean \"lifecycle\"?",
                "spec.terminationGracePeriodSecond: Unknown field; did you mean \"terminationGracePeriodSeconds\"?",
            ]
        );
    }

    #[test]
    fn an_annotation_that_is_no_string_is_refused() {
        let text = "kind: Pod\nmetadata: {annotations: {bookend/grace-period: 5}}\nspec: {containers: [{name: a}]}";
        assert_eq!(
            problems(from_pod(text, None)),
            ["bookend/grace-period: Invalid value: 5: must be a string; put it in quotes"]
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none.yaml");
        let annotations = BTreeMap::new();
        let sources = Sources { pod: Some(&path), ..nothing(&annotations, dir.path()) };
        let expected = format!("read {}: No such file or directory (os error 2)", path.display());
        assert_eq!(problems(resolve(&sources)), [expected]);
    }

    #[test]
    fn test_gets_the_container_with_its_variables_expanded() {
        let container = from_pod(CONTAINER, None).unwrap().pod_container().unwrap().unwrap();
        let words = |words: &[&str]| Some(words.iter().map(|word| word.to_string()).collect::<Vec<_>>());
        assert_eq!(container.command, words(&["/bin/app", "--port=8080", "--cost=$(PORT)", "$(MISSING)"]));
        assert_eq!(container.args, words(&["--url=http://localhost:8080/", "100$"]));
        assert_eq!(container.working_dir.as_deref(), Some("/srv"));
        assert_eq!((container.run_as_user, container.run_as_group), (Some(1001), Some(1000)));
        assert_eq!(container.supplemental_groups, [2000, 3000]);
        assert!(container.read_only_root_filesystem);
        assert_eq!(container.env[2], ("EMPTY".to_owned(), String::new()));
        let plain = from_pod(HOOKS_POD, None).unwrap().pod_container().unwrap().unwrap();
        assert_eq!((plain.command, plain.args, plain.image.as_deref()), (None, None, Some("nginx")));
    }

    #[test]
    fn test_refuses_variables_from_a_cluster_and_run_does_not() {
        let text = "kind: Pod\nspec: {containers: [{name: a, envFrom: [{secretRef: {name: s}}], \
                    env: [{name: X, valueFrom: {fieldRef: {}}}, {name: Y, value: 5}]}]}";
        let resolved = from_pod(text, None).unwrap();
        assert_eq!(
            resolved.pod_container().unwrap().unwrap_err().problems,
            [
                "spec.containers[0].envFrom: Forbidden: a ConfigMap or Secret cannot be read without a cluster; give the \
                 variables by env",
                "spec.containers[0].env[0].valueFrom: Forbidden: \"X\" needs a cluster; give it a literal value",
                "spec.containers[0].env[1].value: Invalid value: 5: must be a string; put it in quotes",
            ]
        );
    }

    #[test]
    fn expansion_follows_kubernetes() {
        let env = [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "$(A)".to_owned())];
        for (text, expanded) in [
            ("$(A)$(A)", "11"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(B)", "$(A)"),
            ("$(A", "$(A"),
            ("$A $", "$A $"),
            ("$(C) é", "$(C) é"),
        ] {
            assert_eq!(expand(text, &env), expanded, "{text}");
        }
    }

    #[test]
    fn problems_keep_their_place_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pod.yaml");
        std::fs::write(&path, HOOKS_POD.replace("preStop:", "prestop:")).unwrap();
        let annotations = BTreeMap::new();
        let inspected =
            crate::lifecycle::source::inspect(&Sources { pod: Some(&path), ..nothing(&annotations, dir.path()) });
        assert_eq!(inspected.errors[0].at, Some(Mark { line: 13, column: 7 }));
        assert_eq!(inspected.errors[0].source, path.display().to_string());
        assert!(inspected.resolved.plan.entries(Hook::PreStop).is_empty());
    }
}
