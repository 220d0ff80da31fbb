<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Command;

use Fervo\DeferredEventBundle\Backend\Dsn;
use Fervo\DeferredEventBundle\ConfiguredOptions;
use Fervo\DeferredEventBundle\DeferOptions;
use Fervo\DeferredEventBundle\Messenger\FervoTransportFactory;
use Fervo\DeferredEventBundle\Messenger\Transports;
use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Command\Command;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;
use Symfony\Component\Console\Style\SymfonyStyle;

/** @internal */
#[AsCommand(name: 'debug:fervo', description: 'Shows deferred listeners and how events are deferred')]
final class DebugCommand extends Command
{
    /**
     * @param array<string, int|string>                      $settings   without secrets
     * @param string|null                                    $path       of the backend's file
     * @param string|null                                    $dsn        of the backend's server
     * @param list<array{string, string, int, DeferOptions}> $listeners  event, "service::method", priority, what its code says
     * @param (\Closure(): Transports)|null                  $transports Messenger's
     */
    public function __construct(
        private readonly array $settings,
        private readonly ConfiguredOptions $options,
        private readonly array $listeners,
        private readonly ?string $path = null,
        #[\SensitiveParameter] private readonly ?string $dsn = null,
        private readonly ?\Closure $transports = null,
    ) {
        parent::__construct();
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $listeners = array_map(fn (array $row): array => [$row[0], $row[1], $row[2], $this->options->complete($row[3], $row[0], $row[0], $row[1])], $this->listeners);
        $configured = $this->options->all();
        [$transports, $error] = $this->transports();
        // Those that a consumer of the worker has to name.
        $queues = array_map(static fn (DeferOptions $options): string => $options->queue ?? ConfiguredOptions::QUEUE, [
            $this->options->complete(null, '', '', null),
            ...array_values($configured),
            ...array_column($listeners, 3),
        ]);
        array_push($queues, ...array_column($transports, 1));

        $io = new SymfonyStyle($input, $output);
        $io->title('Deferred events');
        $settings = $this->settings;
        $settings['Backend'] .= $this->address();
        $settings['Queues'] = implode(', ', array_unique($queues));
        $io->table([], array_map(null, array_keys($settings), array_values($settings)));

        if ([] !== $configured) {
            $io->section('By configuration');
            $io->table(['Event or listener', 'Queue', 'Delay', 'Attempts'], array_map(
                static fn (string $name, DeferOptions $options): array => [$name, ...self::cells($options)],
                array_keys($configured),
                $configured,
            ));
        }

        $io->section('Deferred listeners');
        if ([] === $listeners) {
            $io->text('None. Have one with #[AsDeferredListener], or with the tag "fervo_deferred_event.listener".');
        } else {
            $io->table(['Event', 'Listener', 'Priority', 'Queue', 'Delay', 'Attempts'], array_map(
                static fn (array $row): array => [$row[0], $row[1], $row[2], ...self::cells($row[3])],
                $listeners,
            ));
        }
        if ([] !== $transports || null !== $error) {
            $io->section('Transports of Messenger');
        }
        if ([] !== $transports) {
            $io->table(['Transport', 'Queue', 'Attempts', 'Priority'], $transports);
        }
        if (null !== $error) {
            $io->error($error);
        }

        return self::SUCCESS;
    }

    /** @return array{string, string, string} */
    private static function cells(DeferOptions $options): array
    {
        return [
            $options->queue ?? ConfiguredOptions::QUEUE,
            ($options->delayMs ?? 0) > 0 ? $options->delayMs / 1000 .' s' : 'none',
            (string) ($options->attempts ?? 'the worker\'s'),
        ];
    }

    /** Without user and password. */
    private function address(): string
    {
        if (null !== $this->path) {
            return ', '.$this->path;
        }
        if (null === $this->dsn) {
            return '';
        }
        try {
            return ', '.Dsn::parse($this->dsn, ['redis', 'rediss', 'beanstalkd'], str_starts_with($this->dsn, 'beanstalkd') ? 11300 : 6379);
        } catch (\UnexpectedValueException) {
            return ', and its "dsn" cannot be read';
        }
    }

    /** @return array{list<array{string, string, int|string, int}>, string|null} rows, and why there are no more */
    private function transports(): array
    {
        $rows = [];
        if (null === $this->transports) {
            return [[], null];
        }
        $transports = ($this->transports)();
        try {
            foreach ($transports->names() as $name) {
                $transport = $transports->get($name);
                // Of others nothing is shown: a DSN may hold a password.
                if (FervoTransportFactory::isFor($transport->dsn)) {
                    $read = FervoTransportFactory::read($transport->dsn, $transport->options, sprintf('The transport "%s"', $name));
                    $complete = $this->options->complete($read, '', '', null);
                    $rows[] = [$name, $complete->queue ?? ConfiguredOptions::QUEUE, $complete->attempts ?? 'the worker\'s', $complete->priority ?? 0];
                }
            }
        } catch (\Throwable $error) {
            return [$rows, $error->getMessage()];
        }

        return [$rows, null];
    }
}
