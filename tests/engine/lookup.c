/* Looks a name up as a program does: getaddrinfo of the C library it was linked with. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>

int main(int count, char **words)
{
	struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found, *one;
	char text[INET_ADDRSTRLEN];
	int fault = count == 2 ? getaddrinfo(words[1], "80", &hints, &found) : EAI_NONAME;

	if (fault) {
		puts(gai_strerror(fault));
		return 1;
	}
	for (one = found; one; one = one->ai_next)
		puts(inet_ntop(AF_INET, &((struct sockaddr_in *)one->ai_addr)->sin_addr, text, sizeof text));
	return 0;
}
