"""A cluster of two nodes; its address is the first line it prints. A line on its standard input kills the second node, the end both."""

import sys

from ray.cluster_utils import Cluster

if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    node = cluster.add_node(num_cpus=1)
    print(cluster.address, flush=True)
    if sys.stdin.readline():
        cluster.remove_node(node, allow_graceful=False)
        print("killed", flush=True)
        sys.stdin.read()
    cluster.shutdown()
