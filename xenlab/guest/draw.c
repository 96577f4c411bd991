/*
 * Draws on every connector of a display, as any program does on Linux: dumb buffers, page flips with their events. Raw DRM
 * calls and nothing else, so that who looks at the result owes nothing to what made it.
 *
 * usage: draw CARD FLIPS SEED...     SEED: of each connector's picture, in the order of the connectors
 *
 * The picture of frame N is a field of noise, its lines moved up by N; the first pixel of a line is its number. It prints an
 * event a line, and reads a command a line: `off`, `on`, `flip COUNT`, `turn COUNT` (flips and draws nothing), `end`.
 */
#include <drm.h>
#include <drm_fourcc.h>
#include <drm_mode.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { most = 4 };

struct screen {
	uint32_t connector, crtc, width, height, fb[2], handle[2];
	struct drm_mode_modeinfo mode;
	uint8_t *pixels[2];
	uint8_t *noise;
	size_t pitch;
	uint32_t frame;
};

static int card;

static void call(const char *name, unsigned long request, void *argument)
{
	while (ioctl(card, request, argument) != 0) {
		if (errno == EINTR || errno == EAGAIN)
			continue;
		printf("{\"event\":\"failed\",\"call\":\"%s\",\"error\":\"%s\"}\n", name, strerror(errno));
		exit(1);
	}
}

static uint32_t next(uint32_t *state)
{
	uint32_t x = *state;
	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return *state = x;
}

static void make(struct screen *s, int i)
{
	struct drm_mode_create_dumb create = { .width = s->width, .height = s->height, .bpp = 32 };
	call("CREATE_DUMB", DRM_IOCTL_MODE_CREATE_DUMB, &create);
	s->handle[i] = create.handle;
	s->pitch = create.pitch;
	struct drm_mode_fb_cmd2 fb = { .width = s->width, .height = s->height, .pixel_format = DRM_FORMAT_XRGB8888,
				       .handles = { create.handle }, .pitches = { create.pitch } };
	call("ADDFB2", DRM_IOCTL_MODE_ADDFB2, &fb);
	s->fb[i] = fb.fb_id;
	struct drm_mode_map_dumb map = { .handle = create.handle };
	call("MAP_DUMB", DRM_IOCTL_MODE_MAP_DUMB, &map);
	s->pixels[i] = mmap(0, create.size, PROT_READ | PROT_WRITE, MAP_SHARED, card, map.offset);
	if (s->pixels[i] == MAP_FAILED) {
		printf("{\"event\":\"failed\",\"call\":\"mmap\",\"error\":\"%s\"}\n", strerror(errno));
		exit(1);
	}
}

static void draw(struct screen *s)
{
	uint8_t *to = s->pixels[s->frame & 1];
	size_t line = 4 * (size_t)s->width, first = s->frame % s->height;
	for (size_t y = 0; y < s->height; y++)
		memcpy(to + y * s->pitch, s->noise + (y + first) % s->height * line, line);
}

static void set(struct screen *s, int on)
{
	struct drm_mode_crtc crtc = { .crtc_id = s->crtc };
	if (on) {
		crtc.set_connectors_ptr = (uintptr_t)&s->connector;
		crtc.count_connectors = 1;
		crtc.fb_id = s->fb[s->frame & 1];
		crtc.mode_valid = 1;
		crtc.mode = s->mode;
	}
	call("SETCRTC", DRM_IOCTL_MODE_SETCRTC, &crtc);
}

static void flip(struct screen *screens, int count, long times, int draws)
{
	struct timespec begin, end;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (long n = 0; n < times; n++) {
		for (int i = 0; i < count; i++) {
			struct screen *s = &screens[i];
			s->frame++;
			if (draws)
				draw(s);
			struct drm_mode_crtc_page_flip flip = { .crtc_id = s->crtc, .fb_id = s->fb[s->frame & 1],
								.flags = DRM_MODE_PAGE_FLIP_EVENT };
			call("PAGE_FLIP", DRM_IOCTL_MODE_PAGE_FLIP, &flip);
		}
		for (int events = 0; events < count;) {
			char buffer[1024];
			ssize_t size = read(card, buffer, sizeof buffer);
			if (size < 0 && errno != EINTR && errno != EAGAIN) {
				printf("{\"event\":\"failed\",\"call\":\"read\",\"error\":\"%s\"}\n", strerror(errno));
				exit(1);
			}
			for (ssize_t at = 0; at < size; at += ((struct drm_event *)(buffer + at))->length)
				events += ((struct drm_event *)(buffer + at))->type == DRM_EVENT_FLIP_COMPLETE;
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	double millis = (end.tv_sec - begin.tv_sec) * 1e3 + (end.tv_nsec - begin.tv_nsec) / 1e6;
	printf("{\"event\":\"flipped\",\"times\":%ld,\"millis\":%.1f}\n", times, millis);
}

static int find(struct screen *screens, int count, char **seeds)
{
	uint32_t connectors[most], crtcs[most], encoders[most];
	struct drm_mode_card_res res = { .connector_id_ptr = (uintptr_t)connectors, .count_connectors = most,
					 .crtc_id_ptr = (uintptr_t)crtcs, .count_crtcs = most,
					 .encoder_id_ptr = (uintptr_t)encoders, .count_encoders = most };
	call("GETRESOURCES", DRM_IOCTL_MODE_GETRESOURCES, &res);
	if ((int)res.count_connectors != count || (int)res.count_crtcs != count) {
		printf("{\"event\":\"failed\",\"call\":\"GETRESOURCES\",\"error\":\"%u connectors\"}\n", res.count_connectors);
		exit(1);
	}
	for (int i = 0; i < count; i++) {
		struct screen *s = &screens[i];
		// The first call makes the kernel look for modes; there is one, whose room the second call offers.
		struct drm_mode_get_connector get = { .connector_id = connectors[i] };
		call("GETCONNECTOR", DRM_IOCTL_MODE_GETCONNECTOR, &get);
		struct drm_mode_get_connector one = { .connector_id = connectors[i], .count_modes = 1,
						      .modes_ptr = (uintptr_t)&s->mode };
		call("GETCONNECTOR", DRM_IOCTL_MODE_GETCONNECTOR, &one);
		s->connector = connectors[i];
		s->crtc = crtcs[i];
		s->width = s->mode.hdisplay;
		s->height = s->mode.vdisplay;
		make(s, 0);
		make(s, 1);
		uint32_t *noise = malloc(4 * (size_t)s->width * s->height), state = strtoul(seeds[i], 0, 10);
		for (uint32_t y = 0; y < s->height; y++)
			for (uint32_t x = 0; x < s->width; x++) {
				uint32_t word = next(&state);
				noise[(size_t)y * s->width + x] = x == 0 ? y : word;
			}
		s->noise = (uint8_t *)noise;
		draw(s);
		set(s, 1);
		printf("{\"event\":\"shown\",\"connector\":%d,\"width\":%u,\"height\":%u}\n", i, s->width, s->height);
	}
	return count;
}

int main(int argc, char **argv)
{
	struct screen screens[most] = { 0 };
	char command[64];
	setvbuf(stdout, 0, _IOLBF, 0);
	if (argc < 4 || argc > 3 + most)
		return 2;
	card = open(argv[1], O_RDWR | O_CLOEXEC);
	if (card < 0) {
		printf("{\"event\":\"failed\",\"call\":\"open\",\"error\":\"%s\"}\n", strerror(errno));
		return 1;
	}
	int count = find(screens, argc - 3, argv + 3);
	if (atol(argv[2]) > 0)
		flip(screens, count, atol(argv[2]), 1);
	while (fgets(command, sizeof command, stdin)) {
		int on = strcmp(command, "on\n") == 0;
		if (on || strcmp(command, "off\n") == 0) {
			for (int i = 0; i < count; i++)
				set(&screens[i], on);
			printf("{\"event\":\"%s\"}\n", on ? "on" : "off");
		} else if (strncmp(command, "flip ", 5) == 0) {
			flip(screens, count, atol(command + 5), 1);
		} else if (strncmp(command, "turn ", 5) == 0) {
			flip(screens, count, atol(command + 5), 0);
		} else
			break;
	}
	close(card);
	printf("{\"event\":\"ended\"}\n");
	return 0;
}
