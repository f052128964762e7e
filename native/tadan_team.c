/* Threads that share the rows of one call; see tadan_core.h. Without threads of POSIX the caller does all of it. */
#include "tadan_core.h"

#if defined(__GNUC__) && (defined(__unix__) || defined(__APPLE__)) && !defined(__wasm__)

#include <pthread.h>
#include <stdlib.h>

#define SPINS 4000 /* looks at what others do, before sleeping: about the time that sleeping and waking take */

struct tadan_team {
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    pthread_t *threads;
    int count, slots, busy, stop; /* count: of threads; busy: those that may be working */
    uint64_t round;
    tadan_work work; /* none: there is nothing to do */
    const void *job;
    int64_t next, rows;
};

static void take(tadan_team *team, tadan_work work, const void *job, int64_t rows, int slot) {
    for (;;) {
        const int64_t first = __atomic_fetch_add(&team->next, TADAN_CHUNK, __ATOMIC_RELAXED);
        if (first >= rows) return;
        work(job, first, first + TADAN_CHUNK < rows ? first + TADAN_CHUNK : rows, slot);
    }
}

static inline void rest(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void *serve(void *argument) {
    tadan_team *team = argument;
    uint64_t seen = 0;
    pthread_mutex_lock(&team->lock);
    const int slot = team->slots++;
    for (;;) {
        pthread_mutex_unlock(&team->lock);
        for (int i = 0; i < SPINS && __atomic_load_n(&team->round, __ATOMIC_RELAXED) == seen; i++) rest();
        pthread_mutex_lock(&team->lock);
        while (!team->stop && (team->work == 0 || team->round == seen)) pthread_cond_wait(&team->wake, &team->lock);
        if (team->stop) break;
        seen = team->round;
        __atomic_add_fetch(&team->busy, 1, __ATOMIC_RELAXED);
        const tadan_work work = team->work;
        const void *job = team->job;
        const int64_t rows = team->rows;
        pthread_mutex_unlock(&team->lock);
        take(team, work, job, rows, slot);
        pthread_mutex_lock(&team->lock);
        if (__atomic_sub_fetch(&team->busy, 1, __ATOMIC_RELEASE) == 0) pthread_cond_signal(&team->done);
    }
    pthread_mutex_unlock(&team->lock);
    return 0;
}

tadan_team *tadan_team_start(int threads) {
    if (threads < 2) return 0;
    tadan_team *team = calloc(1, sizeof *team);
    pthread_t *ids = calloc((size_t)threads - 1, sizeof *ids);
    if (!team || !ids) {
        free(team);
        free(ids);
        return 0;
    }
    team->threads = ids;
    team->slots = 1; /* 0 is the caller's */
    pthread_mutex_init(&team->lock, 0);
    pthread_cond_init(&team->wake, 0);
    pthread_cond_init(&team->done, 0);
    while (team->count < threads - 1 && pthread_create(&ids[team->count], 0, serve, team) == 0) team->count++;
    return team;
}

void tadan_team_end(tadan_team *team) {
    if (!team) return;
    pthread_mutex_lock(&team->lock);
    team->stop = 1;
    pthread_cond_broadcast(&team->wake);
    pthread_mutex_unlock(&team->lock);
    for (int i = 0; i < team->count; i++) pthread_join(team->threads[i], 0);
    pthread_cond_destroy(&team->done);
    pthread_cond_destroy(&team->wake);
    pthread_mutex_destroy(&team->lock);
    free(team->threads);
    free(team);
}

void tadan_team_run(tadan_team *team, tadan_work work, const void *job, int64_t rows) {
    if (!team || rows < 2 * TADAN_CHUNK) {
        work(job, 0, rows, 0);
        return;
    }
    pthread_mutex_lock(&team->lock);
    team->work = work;
    team->job = job;
    team->rows = rows;
    team->next = 0;
    __atomic_add_fetch(&team->round, 1, __ATOMIC_RELAXED);
    pthread_cond_broadcast(&team->wake);
    pthread_mutex_unlock(&team->lock);
    take(team, work, job, rows, 0);
    for (int i = 0; i < SPINS && __atomic_load_n(&team->busy, __ATOMIC_ACQUIRE); i++) rest();
    pthread_mutex_lock(&team->lock);
    team->work = 0; /* who wakes late finds nothing */
    while (__atomic_load_n(&team->busy, __ATOMIC_ACQUIRE)) pthread_cond_wait(&team->done, &team->lock);
    pthread_mutex_unlock(&team->lock);
}

#else

tadan_team *tadan_team_start(int threads) {
    (void)threads;
    return 0;
}

void tadan_team_end(tadan_team *team) { (void)team; }

void tadan_team_run(tadan_team *team, tadan_work work, const void *job, int64_t rows) {
    (void)team;
    work(job, 0, rows, 0);
}

#endif
