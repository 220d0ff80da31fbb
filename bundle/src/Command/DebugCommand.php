<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Command;

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
     * @param array<string, int|string>        $settings  without secrets
     * @param list<array{string, string, int}> $listeners event, "service::method", priority
     */
    public function __construct(
        private readonly array $settings,
        private readonly array $listeners,
    ) {
        parent::__construct();
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $io = new SymfonyStyle($input, $output);
        $io->title('Deferred events');
        $io->table([], array_map(null, array_keys($this->settings), array_values($this->settings)));
        $io->section('Deferred listeners');
        if ([] === $this->listeners) {
            $io->text('None. Have one with #[AsDeferredListener], or with the tag "fervo_deferred_event.listener".');
        } else {
            $io->table(['Event', 'Listener', 'Priority'], $this->listeners);
        }

        return self::SUCCESS;
    }
}
