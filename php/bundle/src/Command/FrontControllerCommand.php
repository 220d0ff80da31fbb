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
    /** Where Composer puts the package, be it a link to somewhere else. */
    private const WITHIN = '/vendor/fervo/deferred-event-bundle/bin/fervo-run.php';

    public function __construct(private readonly string $projectDir)
    {
        parent::__construct();
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $output->writeln($this->path(), OutputInterface::OUTPUT_RAW);

        return self::SUCCESS;
    }

    /** Within the application, as the console was called: a link such as `current` stays when the next release comes. */
    public function path(): string
    {
        foreach ([$this->folderAsCalled(), $this->projectDir] as $folder) {
            if (null !== $folder && is_file($folder.self::WITHIN)) {
                return $folder.self::WITHIN;
            }
        }

        return \dirname(__DIR__, 2).'/bin/fervo-run.php';
    }

    /** The folder above the console's, with the links by which it was reached; null when that is not the application. */
    private function folderAsCalled(): ?string
    {
        $script = (string) ($_SERVER['argv'][0] ?? '');
        if (!str_starts_with($script, '/')) {
            // The shell's, with links; getcwd() has none.
            $script = ($_SERVER['PWD'] ?? getcwd()).'/'.$script;
        }
        $folder = (string) preg_replace('~/(?:\./)+|/\.$~', '/', \dirname($script, 2));
        $folder = rtrim($folder, '/');

        return false !== realpath($folder) && realpath($folder) === realpath($this->projectDir) ? $folder : null;
    }
}
