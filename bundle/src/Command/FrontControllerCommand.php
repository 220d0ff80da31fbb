<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Command;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Command\Command;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;

/** @internal */
#[AsCommand(name: 'fervo:front-controller', description: 'Prints the path of the front controller: "script" in fervo-worker.toml')]
final class FrontControllerCommand extends Command
{
    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $output->writeln(\dirname(__DIR__, 2).'/bin/fervo-run.php', OutputInterface::OUTPUT_RAW);

        return self::SUCCESS;
    }
}
