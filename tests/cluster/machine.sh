# The first process of a machine (private.py starts it): what only root may do, then sshd as an ordinary user.
#   machine.sh NAME LINK ADDRESS GATEWAY FOLDER HOME USER_ID SSHD
set -eu
NAME=$1 LINK=$2 ADDRESS=$3 GATEWAY=$4 FOLDER=$5 HOME_PATH=$6 USER_ID=$7 SSHD=$8
hostname "$NAME"
mount -t proc proc /proc
until ip link show "$LINK" > /dev/null 2>&1; do sleep 0.05; done
ip link set lo up
ip address add "$ADDRESS/24" dev "$LINK"
ip link set "$LINK" up
ip route add default via "$GATEWAY"
echo 22 > /proc/sys/net/ipv4/ip_unprivileged_port_start
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts /dev/pts
mount --bind "$FOLDER/ray" /tmp/ray
mount --bind "$FOLDER/home" "$HOME_PATH"
for file in passwd group hosts; do mount --bind "$FOLDER/etc/$file" "/etc/$file"; done
# Not exec: this shell stays the first process, and takes in the orphans of daemons.
unshare --user --map-user="$USER_ID" --map-group="$USER_ID" "$SSHD" -D -e -f "$FOLDER/etc/sshd_config" &
wait
