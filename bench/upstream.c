/* An upstream that can carry the load: every A question gets one record, in batches.
 *
 * The address is made from the name, so that two names never share one. Other types get an empty answer; a name of a
 * single label does not exist (as with real upstreams, so that a container's name asked too early is seen as wrong).
 * Usage: upstream ADDRESS PORT TTL */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { SLOTS = 64, SIZE = 4096, ROOM = 512, NXDOMAIN = 3, TYPE_A = 1 };

/* Octets of the question section and its type, labels counted; 0 when it cannot be read. */
static size_t question(const unsigned char *packet, size_t size, int *labels, int *type, uint32_t *hash)
{
	size_t at = 12;

	*hash = 2166136261u;
	for (*labels = 0; at < size && packet[at]; ++*labels) {
		if (packet[at] > 63)
			return 0;
		for (size_t end = at + 1 + packet[at]; at < end && at < size; at++)
			*hash = (*hash ^ packet[at]) * 16777619u;
	}
	if (at + 5 > size)
		return 0;
	*type = packet[at + 1] << 8 | packet[at + 2];
	return at + 5;
}

/* Turns the question in place into its reply; its size, or 0 for none. */
static size_t answer(unsigned char *packet, size_t size, uint32_t ttl)
{
	int labels, type;
	uint32_t hash;

	if (size < 17 || size > ROOM || packet[2] & 0x80)
		return 0;
	size_t end = question(packet, size, &labels, &type, &hash);
	if (!end)
		return 0;
	packet[2] |= 0x80;
	packet[3] = 0x80 | (labels < 2 ? NXDOMAIN : 0);
	memset(packet + 6, 0, 6);
	if (labels < 2 || type != TYPE_A)
		return end;
	packet[7] = 1;
	const unsigned char record[] = { 0xc0, 12, 0, 1, 0, 1, ttl >> 24, ttl >> 16, ttl >> 8, ttl, 0, 4,
					 198, 18 + (hash >> 16 & 1), hash >> 8, hash };
	memcpy(packet + end, record, sizeof record);
	return end + sizeof record;
}

int main(int argc, char **argv)
{
	static unsigned char packets[SLOTS][SIZE];
	static struct sockaddr_in senders[SLOTS];
	static struct iovec iovecs[SLOTS];
	static struct mmsghdr headers[SLOTS];
	struct sockaddr_in own = { .sin_family = AF_INET };
	int room = 8 << 20;

	if (argc != 4 || inet_pton(AF_INET, argv[1], &own.sin_addr) != 1)
		return 2;
	own.sin_port = htons(atoi(argv[2]));
	uint32_t ttl = strtoul(argv[3], NULL, 10);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&own, sizeof own) < 0) {
		perror("upstream");
		return 1;
	}
	/* As root: a burst must be lost by whoever is measured, not here. */
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
	for (int i = 0; i < SLOTS; i++) {
		iovecs[i].iov_base = packets[i];
		headers[i].msg_hdr.msg_iov = &iovecs[i];
		headers[i].msg_hdr.msg_iovlen = 1;
		headers[i].msg_hdr.msg_name = &senders[i];
	}
	for (;;) {
		for (int i = 0; i < SLOTS; i++) {
			iovecs[i].iov_len = SIZE;
			headers[i].msg_hdr.msg_namelen = sizeof senders[i];
		}
		int count = recvmmsg(fd, headers, SLOTS, MSG_WAITFORONE, NULL);
		for (int i = 0; i < count; i++)
			iovecs[i].iov_len = answer(packets[i], headers[i].msg_len, ttl);
		for (int done = 0; done < count;) {
			int sent = sendmmsg(fd, headers + done, count - done, 0);
			done += sent > 0 ? sent : 1;
		}
	}
}
