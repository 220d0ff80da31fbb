<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

/** @internal */
final class PhpRedisConnection implements RedisConnectionInterface
{
    private readonly \Redis $redis;

    /** @throws \RedisException */
    public function __construct(Dsn $dsn, int $timeoutMs, ?string $caFile)
    {
        $this->redis = new \Redis();
        $context = null === $caFile ? [] : ['stream' => ['cafile' => $caFile]];
        $host = $dsn->isUnix() ? $dsn->path : ('rediss' === $dsn->scheme ? 'tls://' : '').$dsn->host;
        // A failed connect also raises a warning, which says no more than the exception.
        @$this->redis->connect($host, $dsn->isUnix() ? -1 : $dsn->port, $timeoutMs / 1000, null, 0, $timeoutMs / 1000, $context);
        // It would connect anew in the middle of a transaction, and mix up the replies.
        $this->redis->setOption(\Redis::OPT_MAX_RETRIES, 0);
        if ('' !== $dsn->password) {
            $this->redis->auth('' === $dsn->user ? $dsn->password : [$dsn->user, $dsn->password]);
        }
        $database = RedisDatabase::of($dsn);
        if (0 !== $database && !$this->redis->select($database)) {
            throw new \RedisException(sprintf('there is no database %d: %s', $database, $this->redis->getLastError()));
        }
    }

    public function transaction(array $commands): void
    {
        $this->redis->clearLastError();
        $pipeline = $this->redis->pipeline();
        $pipeline->rawCommand('MULTI');
        foreach ($commands as $command) {
            $pipeline->rawCommand(...$command);
        }
        $pipeline->rawCommand('EXEC');
        $replies = $pipeline->exec();

        // An error is false here: of a command as it was queued, of EXEC, or within the replies of EXEC.
        $results = \is_array($replies) ? end($replies) : false;
        if (!\is_array($results) || \in_array(false, $results, true)) {
            throw new \RedisException($this->redis->getLastError() ?? 'the connection was lost');
        }
    }
}
