/* The limit: sends every datagram back with the QR bit set, in batches, and does nothing else.
 * Usage: echo ADDRESS PORT */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { SLOTS = 64, SIZE = 4096 };

int main(int argc, char **argv)
{
	static unsigned char packets[SLOTS][SIZE];
	static struct sockaddr_in senders[SLOTS];
	static struct iovec iovecs[SLOTS];
	static struct mmsghdr headers[SLOTS];
	struct sockaddr_in own = { .sin_family = AF_INET };

	if (argc != 3 || inet_pton(AF_INET, argv[1], &own.sin_addr) != 1)
		return 2;
	own.sin_port = htons(atoi(argv[2]));
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&own, sizeof own) < 0) {
		perror("echo");
		return 1;
	}
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
		for (int i = 0; i < count; i++) {
			packets[i][2] |= 0x80;
			iovecs[i].iov_len = headers[i].msg_len;
		}
		for (int done = 0; done < count;) {
			int sent = sendmmsg(fd, headers + done, count - done, 0);
			done += sent > 0 ? sent : 1;
		}
	}
}
