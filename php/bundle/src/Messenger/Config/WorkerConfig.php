<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger\Config;

use Doctrine\DBAL\Connection;
use Fervo\DeferredEventBundle\Messenger\Transport;
use Fervo\DeferredEventBundle\Messenger\Transports;
use Symfony\Contracts\Service\ServiceProviderInterface;

/**
 * The worker's configuration for the transports of this application: a broker for each table, and consumers of its transports.
 *
 * @internal
 */
final class WorkerConfig
{
    /** The longest lease that is printed; after the crash of a worker its messages wait for so long. */
    private const LEASE_MS = 60000;
    private const MIN_LEASE_MS = 2000;
    /** As BatchHandlerTrait collects them. */
    private const BATCH_SIZE = 10;
    private const QUEUE_NAME = '/^[A-Za-z0-9._:-]{1,128}$/';

    /** What to do with a transport that the worker does not read. */
    private const ELSEWHERE = [
        'sync' => 'its messages are handled where they are dispatched',
        'in-memory' => 'its messages are for tests',
        'fervo' => 'its queue "%s" is in the backend of fervo/deferred-event-bundle: see the README of the bundle for its broker',
        'schedule' => 'it makes its messages itself; keep messenger:consume %s running, with RedispatchMessage to a transport above',
    ];

    /**
     * @param array<string, TransportSettings>                      $settings    by transport
     * @param ServiceProviderInterface<Connection>                  $connections of DBAL, by name
     * @param array<string, array{password?: string, url?: string}> $variables   of the environment, by connection
     * @param array<string, string>                                 $notObeyed   options that the application has set => reason
     */
    public function __construct(
        private readonly Transports $transports,
        private readonly array $settings,
        private readonly ServiceProviderInterface $connections,
        private readonly array $variables,
        private readonly array $notObeyed,
        private readonly string $projectDir,
        private readonly string $environment,
        private readonly bool $isDebug,
    ) {
    }

    /**
     * @param string $address of php-fpm: the absolute path of its socket
     * @param string $script  the front controller
     */
    public function write(string $address, string $script): string
    {
        [$groups, $others] = $this->read();
        $brokers = $consumers = $needed = [];
        foreach ($groups as $name => $group) {
            try {
                [$lines, $more] = $this->broker($name, $group);
            } catch (\DomainException $error) {
                foreach (array_keys($group['transports']) as $transport) {
                    $others[$transport] = \sprintf('the connection "%s" cannot be read: %s; keep messenger:consume %s running', $group['connection'], $error->getMessage(), $transport);
                }
                continue;
            }
            array_push($brokers, ...$lines);
            $needed += $more;
            foreach ($this->consumers($name, $group) as $consumer) {
                $consumers[] = $consumer;
            }
        }

        return implode("\n", [
            ...$this->head($needed, \count($consumers), $others),
            ...$brokers,
            ...$this->fpm($address, $script),
            ...array_merge(...$consumers),
        ])."\n";
    }

    /**
     * The transports that share a table and its settings, and those that the worker does not read.
     *
     * @return array{array<string, array{connection: string, table: string, redeliver_timeout_ms: int, transports: array<string, string>}>, array<string, string>}
     */
    private function read(): array
    {
        $groups = $others = [];
        // In the order of the configuration, which is the order of priority in a consumer.
        foreach (array_map(strval(...), array_keys($this->settings)) as $name) {
            if (!\in_array($name, $this->transports->names(), true)) {
                $others[$name] = 'a receiver of the application without a DSN; keep messenger:consume running for it';
                continue;
            }
            if ($this->of($name)->isFailureTransport) {
                $others[$name] = 'a failure transport, from which messages are taken by hand: bin/console messenger:failed:retry';
                continue;
            }
            try {
                $transport = $this->transports->get($name);
                $facts = $transport->facts();
            } catch (\Throwable $error) {
                $others[$name] = 'its DSN cannot be read here: '.$error->getMessage();
                continue;
            }
            if ('doctrine' !== $facts['kind']) {
                $others[$name] = self::elsewhere($transport, (string) ($facts['queue'] ?? $name));
            } elseif (1 !== preg_match(self::QUEUE_NAME, $name)) {
                $others[$name] = 'its name has other characters than A-Z a-z 0-9 . _ : - or more than 128; rename it, or keep messenger:consume running for it';
            } else {
                $key = implode(' ', [$facts['connection'], $facts['table'], $facts['redeliver_timeout_ms']]);
                $groups[$key] ??= ['connection' => (string) $facts['connection'], 'table' => (string) $facts['table'], 'redeliver_timeout_ms' => (int) $facts['redeliver_timeout_ms'], 'transports' => []];
                if (\in_array($facts['queue_name'], $groups[$key]['transports'], true)) {
                    $others[$name] = \sprintf('it has the same rows as "%s" (queue_name %s), whose consumer takes them', array_search($facts['queue_name'], $groups[$key]['transports'], true), $facts['queue_name']);
                } else {
                    $groups[$key]['transports'][$name] = (string) $facts['queue_name'];
                }
            }
        }
        $named = [];
        foreach ($groups as $group) {
            $base = (string) preg_replace('/[^A-Za-z0-9_-]/', '_', $group['connection']) ?: 'default';
            $name = $base;
            for ($i = 2; isset($named[$name]); ++$i) {
                $name = $base.'_'.$i;
            }
            $named[$name] = $group;
        }

        return [$named, $others];
    }

    private static function elsewhere(Transport $transport, string $queue): string
    {
        $kind = $transport->kind();
        if ('fervo' === $kind) {
            return \sprintf(self::ELSEWHERE['fervo'], $queue);
        }

        return isset(self::ELSEWHERE[$kind])
            ? \sprintf(self::ELSEWHERE[$kind], $transport->name)
            : \sprintf('this version reads no %s:// transports; keep messenger:consume %s running for it', $kind, $transport->name);
    }

    private function of(string $transport): TransportSettings
    {
        return $this->settings[$transport] ?? new TransportSettings();
    }

    /**
     * @param array<string, string> $needed variable => what it holds
     * @param array<string, string> $others
     *
     * @return list<string>
     */
    private function head(array $needed, int $consumers, array $others): array
    {
        $lines = [
            ...Toml::comment('fervo-worker.toml for this application, printed by bin/console fervo:worker:config. fervo-worker runs the messages instead of messenger:consume; messages, handlers, retries, failure transports and messenger:failed:* stay as they are. An option that is left out has its default: fervo-worker init - prints them all.'),
            '#',
            ...Toml::comment(\sprintf('Printed in the environment "%s". Look at it with: fervo-worker check --call-script', $this->environment)),
        ];
        foreach ($needed as $variable => $what) {
            array_push($lines, '#', ...Toml::comment(\sprintf('Set %s in the environment of fervo-worker: %s.', $variable, $what)));
        }
        if ($consumers > 1) {
            array_push($lines, '#', ...Toml::comment('Each consumer takes messages for itself. messenger:consume with several transports empties the first one first; between consumers this order is gone, within one it stays (order = "strict").'));
        }
        if ([] === $others && 0 === $consumers) {
            array_push($lines, '#', ...Toml::comment('This application has no transports of Messenger, so there is no consumer below: add transports, and print this file again.'));
        }
        if ([] !== $others) {
            array_push($lines, '#', '# Transports without a consumer here:');
            foreach ($others as $name => $why) {
                array_push($lines, ...Toml::comment(\sprintf('- %s: %s.', $name, $why)));
            }
        }
        if ([] !== $this->notObeyed) {
            array_push($lines, '#', '# Options of framework.messenger that the worker does not obey:');
            foreach ($this->notObeyed as $option => $why) {
                array_push($lines, ...Toml::comment(\sprintf('- %s: %s.', $option, $why)));
            }
        }

        return $lines;
    }

    /**
     * @param array{connection: string, table: string, redeliver_timeout_ms: int, transports: array<string, string>} $group
     *
     * @return array{list<string>, array<string, string>} lines, and variables that are needed
     *
     * @throws \DomainException
     */
    private function broker(string $name, array $group): array
    {
        $connection = $group['connection'];
        if (!$this->connections->has($connection)) {
            throw new \DomainException('DoctrineBundle has no connection of this name');
        }
        $own = $this->variables[$connection] ?? [];
        $variable = $own['password'] ?? ('default' === $connection ? '' : strtoupper((string) preg_replace('/\W/', '_', $connection)).'_').'DATABASE_PASSWORD';
        $read = DatabaseParams::read($this->connections->get($connection)->getParams(), $variable, $this->projectDir);
        $lease = min(self::LEASE_MS, $group['redeliver_timeout_ms']);
        if ($lease < self::MIN_LEASE_MS) {
            throw new \DomainException(\sprintf('redeliver_timeout is below %d s', self::MIN_LEASE_MS / 1000));
        }
        $renamed = array_filter($group['transports'], static fn (string $queue, string $transport): bool => $queue !== $transport, \ARRAY_FILTER_USE_BOTH);

        return [[
            '',
            ...Toml::comment(\sprintf('The connection "%s" of Doctrine.', $connection)),
            ...array_merge([], ...array_map(Toml::comment(...), $read['notes'])),
            '[brokers.'.$name.']',
            ...$read['lines'],
            'table = '.Toml::text($group['table']),
            ...([] === $renamed ? [] : ['# transport = queue_name in the table', 'queue_names = '.Toml::table($renamed)]),
            '# As redeliver_timeout of the transports.',
            'redeliver_timeout_ms = '.$group['redeliver_timeout_ms'],
            '# After a crash of the worker, its messages run again so soon.',
            'lease_ms = '.$lease,
        ], $read['hasPassword'] ? [$variable => \sprintf('the password of the connection "%s"%s', $connection, isset($own['password']) ? ', as in the configuration of the application' : (isset($own['url']) ? ', which is part of '.$own['url'].'; write it as it is, without the %XX of a URL' : ''))] : []];
    }

    /** @return list<string> */
    private function fpm(string $address, string $script): array
    {
        return [
            '',
            '# php-fpm: a pool of its own for messages. bin/console fervo:worker:config --pool prints one that has PHP\'s settings of this',
            '# command line. The user of the pool has to read the secrets and to write the cache of the application, as the web\'s can.',
            '[fpm.default]',
            'address = '.Toml::text($address),
            'script = '.Toml::text($script),
            'status_path = "/status"',
            '# As pm.status_listen of the pool: there the page answers also while all children are busy.',
            'status_address = '.Toml::text(PoolFile::statusAddress($address)),
            '# Ends the PHP process of a message whose time is over, so that the application can be told of it.',
            'kill_on_timeout = true',
            '',
            '[fpm.default.params]',
            'APP_ENV = '.Toml::text($this->environment),
            'APP_DEBUG = '.Toml::text($this->isDebug ? '1' : '0'),
        ];
    }

    /**
     * @param array{connection: string, table: string, redeliver_timeout_ms: int, transports: array<string, string>} $group
     *
     * @return list<list<string>>
     */
    private function consumers(string $broker, array $group): array
    {
        $by = [];
        foreach (array_map(strval(...), array_keys($group['transports'])) as $transport) {
            $settings = $this->of($transport);
            $by[(string) json_encode([$settings->limiter, [] !== $settings->batchHandlers])][] = $transport;
        }

        return array_values(array_map(fn (array $transports): array => $this->consumer($broker, $transports), $by));
    }

    /**
     * @param non-empty-list<string> $transports with the same limiter, and batch handlers all or none
     *
     * @return list<string>
     */
    private function consumer(string $broker, array $transports): array
    {
        $settings = $this->of($transports[0]);
        $retries = implode(', ', array_map(fn (string $name): string => $name.': '.($this->of($name)->maxRetries ?? 'by a service'), $transports));
        $handlers = array_unique(array_merge(...array_map(fn (string $name): array => $this->of($name)->batchHandlers, $transports)));
        $lines = [
            '',
            '[[consumers]]',
            'broker = '.Toml::text($broker),
            'fpm = "default"',
            'queues = '.Toml::texts($transports),
            '# Messages at the same time, each in one PHP process of the pool: as many as you ran messenger:consume processes.',
            'concurrency = 4',
            '# The time limit of a message. messenger:consume has none: set it above the longest run of a handler.',
            'timeout_ms = 60000',
        ];
        if ([] !== $handlers) {
            array_push($lines, ...Toml::comment(\sprintf('Batch handlers get at most this many messages at once: %s. A handler with a size of its own (getBatchSize) needs that number.', implode(', ', $handlers))));
            $lines[] = 'batch_size = '.self::BATCH_SIZE;
        }
        if (null !== $settings->limiter) {
            $limit = RateLimit::of($settings->limiter, $settings->limiterConfig);
            array_push($lines, ...Toml::comment(ucfirst((string) $limit->note).'.'));
            if (null !== $limit->limit) {
                array_push($lines, 'rate_limit = '.$limit->limit, 'rate_period_ms = '.$limit->periodMs);
            }
        }

        return [
            ...$lines,
            '',
            ...Toml::comment(\sprintf('Retries are the application\'s, as its configuration says (max_retries of %s). This is the last resort, for a message whose end the application could not be told of, since PHP died of that, too.', $retries)),
            '[consumers.retry]',
            'attempts = 5',
        ];
    }
}
