<?php

declare(strict_types=1);

namespace App\MessageHandler;

use App\Journal;
use App\Message\Note;
use Symfony\Component\Messenger\Attribute\AsMessageHandler;

#[AsMessageHandler]
final class WriteNote
{
    public function __construct(private readonly Journal $journal)
    {
    }

    public function __invoke(Note $note): void
    {
        $this->journal->write('note '.$note->text);
        if (str_starts_with($note->text, 'fails')) {
            throw new \DomainException('The pencil is broken');
        }
        if (str_starts_with($note->text, 'hangs')) {
            sleep(60);
        }
    }
}
