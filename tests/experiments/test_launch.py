"""The launchers: N processes on this machine, a batch script for Slurm, a manifest for Kubernetes."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import launch_local

from experiments import train
from vae_jax.devices.cluster import find

ROOT = Path(__file__).parents[2]
LAUNCHER = [sys.executable, launch_local.__file__]

# Which process this is, in a child: the last flag.
RANK = "import os, signal, sys, time; rank = int(sys.argv[-1].split('=')[1])\n"
# Counts the signals that arrive in the file named by the first argument, saves for a while, and ends as train does.
SAVING = """
count = [0]
def asked(number, frame):
    count[0] += 1
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, asked)
open(f"{sys.argv[1]}.{rank}.ready", "w").close()
deadline = time.time() + 20
while not count[0] and time.time() < deadline:
    time.sleep(0.01)
time.sleep(0.3)
open(f"{sys.argv[1]}.{rank}", "w").write(str(count[0]))
sys.exit(143)
"""


def launched(*own, program, arguments=(), **popen):
    command = [*LAUNCHER, *own, "--", "-c", program, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True, **popen)


def run(*own, program, arguments=(), **popen):
    process = launched(*own, program=program, arguments=arguments, **popen)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def wait_for(*paths):
    deadline = time.time() + 30
    while not all(path.exists() for path in paths) and time.time() < deadline:
        time.sleep(0.01)
    assert all(path.exists() for path in paths)


def test_each_process_is_told_who_it_is_and_the_first_speaks():
    program = "import os, sys; print(*sys.argv[1:], os.environ['JAX_NUM_CPU_DEVICES'])"
    status, out, err = run("3", "--devices_per_process=2", program=program, arguments=["--flag=a b"])
    assert status == 0
    lines = [out.strip(), *sorted(err.splitlines())]
    port = re.search(r"--coordinator=127\.0\.0\.1:(\d+) ", out)[1]
    for rank, line in enumerate(lines):
        said = f"--flag=a b --coordinator=127.0.0.1:{port} --num_processes=3 --process_id={rank} 2"
        assert line == (f"[{rank}] {said}" if rank else said)
        assert find(f"127.0.0.1:{port}", 3, rank) is not None


def test_standard_error_of_every_process_is_heard():
    status, out, err = run("2", program=RANK + "os.write(2, f'trouble {rank}\\n'.encode())")
    assert (status, out) == (0, "") and sorted(err.splitlines()) == ["[1] trouble 1", "trouble 0"]


@pytest.mark.parametrize(
    ("does", "status"),
    [
        ("sys.exit(2)", 2),
        ("raise ValueError", 1),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("os.abort()", 134),
    ],
)
def test_one_that_fails_ends_the_others_and_decides_the_status(tmp_path, does, status):
    told = tmp_path / "told"
    program = (
        RANK + "told = lambda *_: (open(sys.argv[1], 'w').close(), sys.exit(7)); signal.signal(signal.SIGTERM, told)\n"
        f"if rank == 1:\n    time.sleep(0.2)\n    {does}\ntime.sleep(30)"
    )
    began = time.time()
    assert run("2", program=program, arguments=[str(told)])[0] == status
    assert told.exists() and time.time() - began < 20


def test_one_that_does_not_listen_is_killed_after_the_grace():
    program = RANK + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nif rank == 0:\n    sys.exit(5)\ntime.sleep(60)"
    began = time.time()
    assert run("2", "--grace=0.3", program=program)[0] == 5
    assert time.time() - began < 20


def test_a_killed_process_is_the_cause_and_not_those_that_feel_it(tmp_path):
    # Process 0 sees that process 1 is gone, and fails at once.
    program = RANK + (
        "path = sys.argv[1]\n"
        "if rank == 1:\n    open(path + '.new', 'w').write(str(os.getpid())); os.rename(path + '.new', path)\n"
        "    time.sleep(0.2); os.kill(os.getpid(), signal.SIGKILL)\n"
        "while not os.path.exists(path): time.sleep(0.001)\n"
        "pid = open(path).read()\n"
        "while open(f'/proc/{pid}/stat').read().rsplit(')')[1].split()[0] != 'Z': pass\n"
        "sys.exit(1)"
    )
    if not os.path.exists("/proc/self/stat"):
        pytest.skip("this system has no /proc")
    assert [run("2", program=program, arguments=[str(tmp_path / str(i))])[0] for i in range(3)] == [137] * 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_handed_on_once_and_all_may_save(tmp_path, number):
    path = tmp_path / "count"
    process = launched("2", "--restart", program=RANK + SAVING, arguments=[str(path)])
    wait_for(*(tmp_path / f"count.{rank}.ready" for rank in (0, 1)))
    # To all of the launcher's group, as Ctrl-C on a terminal does.
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143 and "starting again" not in err
    assert [(tmp_path / f"count.{rank}").read_text() for rank in (0, 1)] == ["1", "1"]


def test_one_that_was_stopped_does_not_hurry_the_others(tmp_path):
    # A scheduler stops process 1 alone; process 0 hears of it by itself and is still saving.
    path = tmp_path / "saved"
    program = RANK + (
        "if rank == 1:\n    sys.exit(143)\n"
        "count = []; signal.signal(signal.SIGTERM, lambda *_: count.append(1)); time.sleep(0.5)\n"
        "open(sys.argv[1], 'w').write(str(len(count))); sys.exit(143)"
    )
    assert run("2", program=program, arguments=[str(path)])[0] == 143
    assert path.read_text() == "0"


COUNTED = RANK + (
    "path = sys.argv[1]; times = len(open(path).readlines()) if os.path.exists(path) else 0\n"
    "if rank:\n    sys.exit(0)\n"
    "open(path, 'a').write(sys.argv[-3] + '\\n')\n"
)


@pytest.mark.parametrize("does", ["sys.exit(143)", "os.kill(os.getpid(), signal.SIGKILL)", "os.abort()"])
def test_what_a_scheduler_would_restart_is_started_again_on_another_port(tmp_path, does):
    path = tmp_path / "starts"
    program = COUNTED + f"if times < 2:\n    {does}"
    status, _, err = run("2", "--restart", program=program, arguments=[str(path)])
    assert status == 0 and err.count("starting again") == 2
    assert len(set(path.read_text().splitlines())) == 3
    path.unlink()
    assert run("2", "--restart=1", program=program, arguments=[str(path)])[0] in (143, 137, 134)
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize("status", [0, 1, 2, 130, 255])
def test_what_would_end_in_the_same_way_is_not_started_again(tmp_path, status):
    path = tmp_path / "starts"
    found, _, err = run("2", "--restart=3", program=COUNTED + f"sys.exit({status})", arguments=[str(path)])
    assert found == status and len(path.read_text().splitlines()) == 1 and "again" not in err


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([], "N"),
        (["2"], "behind a --"),
        (["2", "--"], "behind a --"),
        (["two", "--", "-c", ""], "two"),
        (["0", "--", "-c", ""], "processes=0"),
        (["--", "-c", ""], "N"),
        (["2", "--devices_per_process=0", "--", "-c", ""], "devices_per_process=0"),
        (["2", "--restart=-1", "--", "-c", ""], "restart=-1"),
        (["2", "--nothing", "--", "-c", ""], "--nothing"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments, match, capsys):
    with pytest.raises(SystemExit) as ended:
        launch_local.main(arguments)
    out, err = capsys.readouterr()
    assert ended.value.code == 2 and out == "" and err.startswith("error: ") and err.count("\n") == 1 and match in err


# ---------------------------------------------------------------- Slurm


@pytest.fixture
def slurm(tmp_path):
    """Runs the batch script where ``srun`` and ``scontrol`` are little scripts that write down what they are told."""
    submitted, tools = tmp_path / "project", tmp_path / "tools"
    (submitted / ".venv" / "bin").mkdir(parents=True)
    tools.mkdir()
    python = submitted / ".venv" / "bin" / "python"
    python.symlink_to(sys.executable)

    def run(srun, *arguments):
        for name, text in (("srun", srun), ("scontrol", "")):
            (tools / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/calls\n{text}\n')
            (tools / name).chmod(0o755)
        (tmp_path / "calls").write_text("")
        environment = {"PATH": f"{tools}:{os.environ['PATH']}", "SLURM_JOB_ID": "77", "SLURM_SUBMIT_DIR": submitted}
        command = ["bash", str(ROOT / "scripts" / "slurm.sh"), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, (tmp_path / "calls").read_text().splitlines(), done.stderr

    run.python = python
    return run


def test_the_batch_script_hands_its_arguments_to_train(slurm):
    status, calls, _ = slurm("exit 0", "--workdir=a b", "--seed=1")
    assert status == 0
    assert calls == ["srun --kill-on-bad-exit=1 .venv/bin/python -m experiments.train --workdir=a b --seed=1"]


def test_a_run_that_was_stopped_goes_back_into_the_queue_and_nothing_else_does(slurm):
    status, calls, _ = slurm("exit 143")
    assert status == 143 and calls[1:] == ["scontrol requeue 77"]
    for other in (0, 1, 2, 130, 134, 137):
        status, calls, _ = slurm(f"exit {other}")
        assert status == other and len(calls) == 1
    # scancel reaches the shell of the script as well as the tasks.
    status, calls, _ = slurm("kill -TERM $PPID; exit 143")
    assert status == 143 and len(calls) == 1


def test_the_batch_script_asks_for_what_it_needs(slurm):
    text = (ROOT / "scripts" / "slurm.sh").read_text()
    options = re.findall(r"^#SBATCH (--\S+)", text, re.MULTILINE)
    assert "--requeue" in options and "--signal=TERM@120" in options and "--open-mode=append" in options
    assert text.index("#SBATCH " + options[-1]) < text.index("\nset -euo")  # later ones are not read
    subprocess.run(["bash", "-n", str(ROOT / "scripts" / "slurm.sh")], check=True)
    slurm.python.unlink()
    status, calls, err = slurm("exit 0")
    assert status == 2 and calls == [] and err.startswith("error: ") and err.count("\n") == 1


# ---------------------------------------------------------------- Kubernetes


@pytest.fixture
def manifest():
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((ROOT / "scripts" / "jobset.yaml").read_text())


def test_the_pods_of_the_manifest_find_each_other(manifest):
    assert (manifest["apiVersion"], manifest["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (replicated,) = manifest["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    assert job["completionMode"] == "Indexed" and replicated["replicas"] == 1
    for index in range(job["completions"]):
        cluster = find(None, None, None, variables | {"JOB_COMPLETION_INDEX": str(index)})
        assert cluster.num_processes == job["completions"] == job["parallelism"] and cluster.process_id == index
    # The name that JobSet gives to pod 0 of job 0, in the network that has the set's name.
    name = manifest["metadata"]["name"]
    host, port = cluster.coordinator.split(":")
    assert host == f"{name}-{replicated['name']}-0-0.{name}" and manifest["spec"]["network"]["enableDNSHostnames"]
    assert [entry["containerPort"] for entry in container["ports"]] == [int(port)]


def test_the_manifest_restarts_what_may_be_restarted(manifest):
    job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
    policy = manifest["spec"]["failurePolicy"]
    assert policy["maxRestarts"] >= 1 and job["backoffLimit"] == 0
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # a pod failure policy asks for it
    assert pod["terminationGracePeriodSeconds"] >= 60

    def action(code, disrupted=False):
        """What Kubernetes does: the first rule that matches."""
        for rule in job["podFailurePolicy"]["rules"]:
            codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions", [])
            if codes and codes["containerName"] == pod["containers"][0]["name"]:
                if (codes["operator"] == "In") == (code in codes["values"]):
                    return rule["action"]
            if disrupted and {"type": "DisruptionTarget", "status": "True"} in conditions:
                return rule["action"]
        return "Count"

    assert action(2) == "FailJob" and action(143) == "Ignore" and action(137, disrupted=True) == "Ignore"
    assert {action(code) for code in (1, 134, 137)} == {"Count"}
    (rule,) = policy["rules"]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])


def test_the_manifest_runs_a_command_that_there_is(manifest):
    pod = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["python", "-m", "experiments.train"]
    flags = {argument.removeprefix("--").split("=")[0]: argument.split("=")[1] for argument in container["args"]}
    assert set(flags) <= {field.name for field in dataclasses.fields(train.Config)}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    assert flags["workdir"].startswith(mounts["runs"] + "/")
    text = (ROOT / "scripts" / "jobset.yaml").read_text()
    assert {"REPLACE_IMAGE", "REPLACE_CLAIM", "REPLACE_GPU_TYPE"} <= set(re.findall(r"\bREPLACE_\w+[A-Z]\b", text))
