"""The sides of the comparisons: umbel with the benchmark's programs as workers, and whom it is measured
beside. Each function starts one server."""
import shutil

from measure import BENCH, BUILD, UMBEL, Failed, free_port

WORKERS = 2


def run_umbel(servers, program, workers, policy, args=()):
    """args: what the program takes after its port."""
    port = free_port()
    options = ["--policy", policy] if policy else []
    return servers.start(UMBEL, "run", "-n", workers, *options, "--", *program, port, *args,
                         ready=workers, port=port)


def umbel_c(servers, policy=None):
    return run_umbel(servers, [BUILD / "bench" / "c_worker"], WORKERS, policy)


def umbel_node(servers, workers=WORKERS, *work, policy=None):
    return run_umbel(servers, ["node", BENCH / "app.js"], workers, policy, work)


def uneven(servers, kind, policy):
    """Four that do one thing at a time, and sleep 1 ms for each; in slot 1 ten times as long."""
    tests = "tests/programs"
    program = {"C": [BUILD / tests / "uneven"], "Node": ["node", BENCH.parent / tests / "uneven.js"]}
    return run_umbel(servers, program[kind], 4, policy, [1, 1, 10])


def node(servers, workers=WORKERS, *work, policy="rr"):
    port = free_port()
    return servers.start("env", f"NODE_CLUSTER_SCHED_POLICY={policy}", "node", BENCH / "cluster.js",
                         workers, port, *work, ready=workers, port=port)


def bare_loop(servers, batch):
    port = free_port()
    return servers.start(BUILD / "bench" / "bare_loop", port, batch, port=port)


def reuseport(servers):
    port = free_port()
    return servers.start(BUILD / "bench" / "reuseport", port, WORKERS, ready=WORKERS, port=port)


def intercepted(servers, program, args=()):
    """As one worker, as it stands; args: what it takes after its port."""
    return run_umbel(servers, program, 1, None, args)


def alone(servers, program, args, says):
    """The same without umbel; says: what it prints when it listens."""
    port = free_port()
    return servers.start(*program, port, *args, ready=1, says=says, port=port)


# Nothing but the connection: no log, no file. Its directories are made even when nobody uses them.
NGINX = """daemon off;
worker_processes {workers};
pid {home}/pid;
error_log stderr notice;
events {{ worker_connections 1024; }}
http {{
	access_log off;
	client_body_temp_path {home}/body;
	proxy_temp_path {home}/proxy;
	fastcgi_temp_path {home}/fastcgi;
	uwsgi_temp_path {home}/uwsgi;
	scgi_temp_path {home}/scgi;
	server {{
		listen 127.0.0.1:{port} backlog=4096{options};
		location / {{ return 200 "x"; }}
	}}
}}
"""


def has_nginx():
    """Where it is; Debian puts it where only root looks."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def nginx(servers, options=""):
    if not has_nginx():
        raise Failed("nginx is not here")
    port, home = free_port(), servers.directory()
    config = home / "nginx.conf"
    config.write_text(NGINX.format(workers=WORKERS, home=home, port=port, options=options),
                      encoding="ascii")
    return servers.start(has_nginx(), "-e", "stderr", "-p", home, "-c", config, ready=WORKERS,
                         says="start worker process ", port=port)
