<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

use Predis\Client;
use Predis\Command\RawCommand;
use Predis\Pipeline\Pipeline;
use Predis\Response\ErrorInterface;

/** @internal */
final class PredisConnection implements RedisConnectionInterface
{
    private readonly Client $client;

    public function __construct(Dsn $dsn, int $timeoutMs, ?string $caFile)
    {
        $this->client = new Client([
            'timeout' => $timeoutMs / 1000,
            'read_write_timeout' => $timeoutMs / 1000,
        ] + ($dsn->isUnix() ? ['scheme' => 'unix', 'path' => $dsn->path] : [
            'scheme' => 'rediss' === $dsn->scheme ? 'tls' : 'tcp',
            'host' => $dsn->host,
            'port' => $dsn->port,
            'ssl' => null === $caFile ? [] : ['cafile' => $caFile],
        ]));
        // By hand: Predis 1 knows no users.
        if ('' !== $dsn->password) {
            $this->execute('' === $dsn->user ? ['AUTH', $dsn->password] : ['AUTH', $dsn->user, $dsn->password]);
        }
        if (0 !== $database = RedisDatabase::of($dsn)) {
            $this->execute(['SELECT', (string) $database]);
        }
    }

    public function transaction(array $commands): void
    {
        $replies = $this->client->pipeline(static function (Pipeline $pipeline) use ($commands): void {
            foreach ([['MULTI'], ...$commands, ['EXEC']] as $command) {
                $pipeline->executeCommand(RawCommand::create(...$command));
            }
        });
        // Errors of the commands come as exceptions; those within the replies of EXEC do not.
        foreach ((array) end($replies) as $result) {
            if ($result instanceof ErrorInterface) {
                throw new \RuntimeException($result->getMessage());
            }
        }
    }

    /** @param list<string> $command */
    private function execute(#[\SensitiveParameter] array $command): void
    {
        $this->client->executeCommand(RawCommand::create(...$command));
    }
}
