/*
 * Loaded into a server before its libraries (LD_PRELOAD): its wall clock is ahead of the machine's by the nanoseconds in the
 * file $CLOCK_AHEAD, a 64-bit number that a test may change at any moment. The monotonic clock is the machine's.
 *
 * libfaketime is not enough here: it tells a signal handler the machine's time while the program waits, so the timeouts of
 * PostgreSQL would not come.
 *
 * It is compiled by tcc without the headers of libc, so they need not be installed.
 */
enum { REALTIME = 0, REALTIME_COARSE = 5, SECOND = 1000000000 };

struct timespec { long seconds, nanoseconds; };
struct timeval { long seconds, microseconds; };

extern char *getenv(const char *name);
extern int open(const char *path, int flags, ...);
extern void *mmap(void *address, unsigned long length, int protection, int flags, int file, long offset);
extern void *dlsym(void *handle, const char *name);
extern int pthread_cond_clockwait(void *condition, void *mutex, int clock, const struct timespec *end);

static int (*machine_clock)(int, struct timespec *);
static const volatile long long *ahead;

static void prepare(void) {
  void *next = (void *)-1L; /* RTLD_NEXT */
  int read_only = 0, readable = 1, shared = 1;
  if (machine_clock) return;
  ahead = mmap(0, sizeof *ahead, readable, shared, open(getenv("CLOCK_AHEAD"), read_only), 0);
  machine_clock = dlsym(next, "clock_gettime");
}

static void add(struct timespec *time, long long nanoseconds) {
  long long sum = time->nanoseconds + nanoseconds;
  long seconds = sum / SECOND;
  if (sum % SECOND < 0) seconds--;
  time->seconds += seconds;
  time->nanoseconds = sum - (long long)seconds * SECOND;
}

int clock_gettime(int clock, struct timespec *time) {
  int result;
  prepare();
  result = machine_clock(clock, time);
  if (result == 0 && (clock == REALTIME || clock == REALTIME_COARSE)) add(time, *ahead);
  return result;
}

int gettimeofday(struct timeval *time, void *zone) {
  struct timespec now;
  int result = clock_gettime(REALTIME, &now);
  time->seconds = now.seconds;
  time->microseconds = now.nanoseconds / 1000;
  return result;
}

long time(long *copy) {
  struct timespec now;
  clock_gettime(REALTIME, &now);
  if (copy) *copy = now.seconds;
  return now.seconds;
}

/* The end is a time of the server's clock, and the kernel waits by the machine's. */
int pthread_cond_timedwait(void *condition, void *mutex, const struct timespec *end) {
  struct timespec machines = *end;
  prepare();
  add(&machines, -*ahead);
  return pthread_cond_clockwait(condition, mutex, REALTIME, &machines);
}
